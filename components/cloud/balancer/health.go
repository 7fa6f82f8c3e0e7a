package balancer

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// How Nodes are asked: a Node is out after two failures, and in again after one success, for which it
// is asked more often.
const (
	checkInterval = time.Second
	retryInterval = 250 * time.Millisecond
	checkTimeout  = time.Second
	checkFailures = 2
)

// asked is one Check of one Node.
type asked struct {
	node  Node
	check Check
}

// health asks Nodes for their health, each for itself.
type health struct {
	ask     func(context.Context, netip.Addr, Check) error
	changed chan struct{} // has a value when a Node became healthy or ceased to be
	say     func(format string, args ...any)

	mu      sync.Mutex
	results map[asked]*result
}

// result is what is known of a Node.
type result struct {
	known, healthy bool
	why            string
	stop           context.CancelFunc
}

func newHealth(say func(string, ...any)) *health {
	return &health{ask: ask, changed: make(chan struct{}, 1), say: say, results: map[asked]*result{}}
}

// watch starts what a Target checks and is not checked yet, and stops the rest.
func (h *health) watch(ctx context.Context, t Target) {
	h.mu.Lock()
	defer h.mu.Unlock()
	want := map[asked]bool{}
	for _, a := range t.asked() {
		want[a] = true
		if h.results[a] == nil {
			own, stop := context.WithCancel(ctx)
			h.results[a] = &result{stop: stop}
			go h.follow(own, a)
		}
	}
	for a, r := range h.results {
		if !want[a] {
			r.stop()
			delete(h.results, a)
		}
	}
}

// asked lists each Check of each Node once.
func (t Target) asked() (all []asked) {
	known := map[Check]bool{}
	for _, b := range t.Balancers {
		for _, l := range b.Listeners {
			if known[l.Check] {
				continue
			}
			known[l.Check] = true
			for _, n := range t.Nodes {
				all = append(all, asked{n, l.Check})
			}
		}
	}
	return all
}

// follow asks a Node until ctx is done.
func (h *health) follow(ctx context.Context, a asked) {
	for failures := 0; ; {
		limited, cancel := context.WithTimeout(ctx, checkTimeout)
		err := h.ask(limited, a.node.Address, a.check)
		cancel()
		if ctx.Err() != nil {
			return
		}
		pause := checkInterval
		if err == nil {
			failures = 0
		} else {
			failures++
			pause = retryInterval
		}
		if err == nil || failures >= checkFailures || !h.knows(a) {
			h.note(a, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (h *health) knows(a asked) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.results[a] == nil || h.results[a].known
}

// note records the result of a Check.
func (h *health) note(a asked, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.results[a]
	if r == nil { // it was stopped meanwhile
		return
	}
	was := *r
	r.known, r.healthy, r.why = true, err == nil, ""
	if err != nil {
		r.why = err.Error()
	}
	if was.known && was.healthy == r.healthy {
		return
	}
	if r.healthy {
		h.say("Node %s (%s) is healthy by %s", a.node.Name, a.node.Address, a.check)
	} else {
		h.say("Node %s (%s) is not healthy by %s: %s", a.node.Name, a.node.Address, a.check, r.why)
	}
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// settle waits until each Node of a Target has been asked once.
func (h *health) settle(ctx context.Context, t Target) {
	for !h.settled(t) {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

func (h *health) settled(t Target) bool {
	for _, a := range t.asked() {
		if !h.knows(a) {
			return false
		}
	}
	return true
}

// of returns what is known of the Nodes of a Target.
func (h *health) of(t Target) []Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := []Health{}
	for _, a := range t.asked() {
		one := Health{Node: a.node, Check: a.check, Why: "not asked yet"}
		if r := h.results[a]; r != nil && r.known {
			one.Healthy, one.Why = r.healthy, r.why
		}
		all = append(all, one)
	}
	return all
}

// ask makes one Check of the Node at an address.
func ask(ctx context.Context, node netip.Addr, c Check) error {
	at := net.JoinHostPort(node.String(), strconv.Itoa(int(c.Port)))
	if c.Path == "" {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", at)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+c.Path, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", response.Status)
	}
	return nil
}
