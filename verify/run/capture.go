package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/trace"
)

// captureSlack is how long after its caller's limit a capture that was not stopped ends.
const captureSlack = 10 * time.Second

// maxCapture bounds what one capture returns, in bytes: an agent's own limits are lower, but what
// answers at the socket of a Pod may be anything.
const maxCapture = 256 << 20

// capturing is a running capture. Its place may be read when it is done.
type capturing struct {
	place trace.Place
	ready chan struct{} // closed when the capture runs, or has failed
	done  chan struct{}
	body  *io.PipeWriter
}

// capture starts to capture the packets on all interfaces of an agent.
func (a *client) capture(ctx context.Context, s observe.Station, limit time.Duration, without []uint16) *capturing {
	reader, writer := io.Pipe()
	c := &capturing{place: trace.Place{Machine: s.Machine}, ready: make(chan struct{}), done: make(chan struct{}), body: writer}
	go func() {
		defer close(c.done)
		if err := c.run(ctx, a, s, reader); err != nil {
			c.place.Err = err.Error()
		}
		select {
		case <-c.ready:
		default:
			close(c.ready)
		}
		reader.Close()
	}()
	go json.NewEncoder(writer).Encode(agent.Capture{Seconds: int((limit + captureSlack).Seconds()), Without: without})
	return c
}

func (c *capturing) run(ctx context.Context, a *client, s observe.Station, body io.Reader) error {
	client, err := a.client(s)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/capture", body)
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
	in, begun := json.NewDecoder(io.LimitReader(response.Body, maxCapture)), false
	for {
		var got agent.Captured
		if err := in.Decode(&got); err != nil {
			return fmt.Errorf("the capture stopped early: %w", err)
		}
		switch {
		case got.Ready != nil && begun:
			return errors.New("the capture began twice: the agent at the socket is not netlab's")
		case got.Ready != nil:
			if s.IP != "" && got.Ready.IP != s.IP {
				return fmt.Errorf("the previous Pod, at %s, still answers at its socket", got.Ready.IP)
			}
			c.place.Ready = *got.Ready
			begun = true
			close(c.ready)
		case got.Frame != nil:
			c.place.Frames = append(c.place.Frames, *got.Frame)
		case got.End != nil:
			c.place.End = *got.End
			return nil
		}
	}
}

// captures are the captures at all places that probes may pass.
type captures []*capturing

// capture starts captures on every Node and outside host, and in the named Pods.
func capture(ctx context.Context, w observe.Snapshot, a *client, pods map[string]bool, without []uint16) captures {
	var out captures
	start := func(r observe.Ref, pod string) {
		s, err := w.Station(r)
		if err != nil {
			s = observe.Station{Machine: cmp.Or(r.Node, r.Name)} // no agent of this name runs: the place reports it
		}
		c := a.capture(ctx, s, tracing(w.Plan), without)
		c.place.Pod = pod
		out = append(out, c)
	}
	for _, m := range w.Plan.Nodes() {
		start(observe.AtNode(m), "")
	}
	for _, m := range w.Plan.Hosts() {
		start(observe.AtHost(m), "")
	}
	for _, p := range w.Pods.All() {
		if pods[p.Name] && !p.HostNetwork {
			start(observe.AtPod(p), p.Name)
		}
	}
	visited := map[string]bool{}
	for r, e := range w.Ends {
		if r.Kind == report.AtPod && pods[e.Pod.Title()] && !visited[e.Pod.UID] {
			visited[e.Pod.UID] = true
			start(r, e.Pod.Title())
		}
	}
	for _, c := range out {
		select {
		case <-c.ready:
		case <-ctx.Done():
		}
	}
	return out
}

// end stops all captures and returns what they captured.
func (cs captures) end(ctx context.Context) ([]trace.Place, error) {
	// A packet that left a machine may be about to reach another, and an agent reads its
	// ring when it gets CPU time.
	sleep(ctx, 20*time.Millisecond)
	for _, c := range cs {
		c.body.Close()
	}
	var places []trace.Place
	for _, c := range cs {
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, errors.New("the captures did not end in time")
		}
		places = append(places, c.place)
	}
	return places, nil
}

// controlPorts are those of the cluster's own traffic: most of what a Node sends, and never
// a probe's.
func controlPorts(plan topology.Plan) []uint16 {
	return []uint16{plan.Kubernetes.API.Port(), 2379, 2380, 10250, 10257, 10259, 7946}
}
