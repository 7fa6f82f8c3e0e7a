package run

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
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
	limit    time.Duration // of one set of probes
	slack    time.Duration // that each answer may take longer, because of impaired links
	mutex    sync.Mutex
	clients  map[observe.Station]*http.Client
}

// askLimit bounds the probes of one agent, all of which run at once.
const askLimit = 30 * time.Second

func newClient(running providers.Running) *client {
	slack := running.Impaired.Slack(running.Plan)
	return &client{machines: running.Machines, limit: running.Plan.Limit(askLimit, askLimit) + slackTimes*slack, slack: slack, clients: map[observe.Station]*http.Client{}}
}

// slackTimes is how many answers an agent may await one after the other.
const slackTimes = 8

// patient gives the probes of a lab with impaired links the time that these take.
func (a *client) patient(probes []agent.Probe) []agent.Probe {
	if a.slack == 0 {
		return probes
	}
	probes = slices.Clone(probes)
	for i := range probes {
		probes[i].TimeoutMillis = int((probes[i].Timeout() + a.slack).Milliseconds())
	}
	return probes
}

// ask sends probes to one agent, as many in one request as it takes, and returns their results in
// order.
func (a *client) ask(ctx context.Context, s observe.Station, probes []agent.Probe) (results []agent.Result, err error) {
	limit := a.limit
	for _, p := range probes {
		limit = max(limit, a.limit+time.Duration(p.ForMillis)*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for part := range slices.Chunk(probes, agent.MaxProbes) {
		answered, err := a.askAtOnce(ctx, s, part)
		if err != nil {
			return nil, err
		}
		results = append(results, answered...)
	}
	return results, nil
}

func (a *client) askAtOnce(ctx context.Context, s observe.Station, probes []agent.Probe) ([]agent.Result, error) {
	var answered agent.Answered
	if err := a.request(ctx, s, http.MethodPost, "/probe", agent.Asked{Probes: a.patient(probes)}, &answered); err != nil {
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

// addressesLimit is for agents that do not answer: what is wrong with them, probes will tell.
const addressesLimit = 3 * time.Second

// addresses asks the agents of all Nodes for the addresses of their interfaces.
func (a *client) addresses(ctx context.Context, w observe.Snapshot) map[string][]netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, addressesLimit)
	defer cancel()
	own := map[string][]netip.Addr{}
	var mutex sync.Mutex
	var asking sync.WaitGroup
	for _, n := range w.Plan.Nodes() {
		s, err := w.Station(observe.AtNode(n))
		if err != nil {
			continue
		}
		asking.Go(func() {
			var got []netip.Addr
			if a.request(ctx, s, http.MethodGet, "/addresses", nil, &got) == nil {
				mutex.Lock()
				own[n.Name] = got
				mutex.Unlock()
			}
		})
	}
	asking.Wait()
	return own
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
