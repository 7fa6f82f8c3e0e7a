package run

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"netlab.dev/netlab/internal/unixhttp"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
)

// client talks to agents over their control sockets, never over the lab's networks.
type client struct {
	machines map[string]providers.Machine
	mutex    sync.Mutex
	clients  map[observe.Station]*http.Client
}

func newClient(machines map[string]providers.Machine) *client {
	return &client{machines: machines, clients: map[observe.Station]*http.Client{}}
}

// ask sends probes to one agent in one request, and returns their results in order.
func (a *client) ask(ctx context.Context, s observe.Station, probes []agent.Probe) ([]agent.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var answered agent.Answered
	if err := a.request(ctx, s, http.MethodPost, "/probe", agent.Asked{Probes: probes}, &answered); err != nil {
		return nil, err
	}
	if len(answered.Results) != len(probes) {
		return nil, fmt.Errorf("ask the agent of %s: %d results to %d probes", s.Who(), len(answered.Results), len(probes))
	}
	if s.IP != "" && answered.IP != s.IP {
		if client, err := a.client(s); err == nil {
			client.CloseIdleConnections()
		}
		return nil, fmt.Errorf("ask the agent of %s: the previous Pod, at %s, still answers at its socket", s.Who(), answered.IP)
	}
	return answered.Results, nil
}

// maxAnswer bounds an agent's answer in bytes: it comes out of a Pod, which may be anybody's.
const maxAnswer = 16 << 20

// request makes one request to an agent's control socket: in and out are JSON, or nil.
func (a *client) request(ctx context.Context, s observe.Station, method, path string, in, out any) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask the agent of %s: %w", s.Who(), err)
		}
	}()
	client, err := a.client(s)
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	limited := &io.LimitedReader{R: response.Body, N: maxAnswer}
	if err := json.NewDecoder(limited).Decode(out); err != nil {
		if limited.N <= 0 {
			return fmt.Errorf("its answer exceeds %d MiB", maxAnswer>>20)
		}
		return err
	}
	return nil
}

func (a *client) client(s observe.Station) (*http.Client, error) {
	machine := a.machines[s.Machine]
	if machine == nil {
		return nil, fmt.Errorf("%s is off", s.Machine)
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.clients[s] == nil {
		a.clients[s] = unixhttp.NewClient(func(ctx context.Context) (net.Conn, error) { return machine.Dial(ctx, s.Socket) })
	}
	return a.clients[s], nil
}

func (a *client) close() {
	for _, c := range a.clients {
		c.CloseIdleConnections()
	}
}
