package balancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	w1 = Node{"w1", netip.MustParseAddr("172.30.0.11")}
	w2 = Node{"w2", netip.MustParseAddr("172.30.0.12")}
)

// web is a load balancer of two Nodes for a Service with one port over both protocols, of which clients are limited.
func web() Target {
	local := Check{Port: 31000, Path: "/healthz"}
	return Target{Nodes: []Node{w1, w2}, Balancers: []Balancer{{Service: "shop/web", VIP: netip.MustParseAddr("203.0.113.200"), NIC: "eth0",
		Sources:   []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.30.0.9/24")},
		Listeners: []Listener{{TCP, 80, 30080, Check{Port: 30080}}, {UDP, 80, 30080, local}, {TCP, 443, 30443, local}}}}}
}

func TestRules(t *testing.T) {
	s := State{Target: web(), Health: []Health{{Node: w1, Check: Check{Port: 30080}, Healthy: true}, {Node: w2, Check: Check{Port: 30080}, Healthy: true},
		{Node: w2, Check: Check{Port: 31000, Path: "/healthz"}, Healthy: true}}}
	const want = `add table ip cloud
delete table ip cloud
table ip cloud {
	chain sources {
		type filter hook prerouting priority mangle; policy accept;
		ip daddr 203.0.113.200 ip saddr != { 10.0.0.0/8, 172.30.0.0/24 } drop
	}
	chain forwards {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr 203.0.113.200 tcp dport 80 dnat to numgen inc mod 2 map { 0 : 172.30.0.11, 1 : 172.30.0.12 } : 30080
		ip daddr 203.0.113.200 udp dport 80 dnat to numgen inc mod 1 map { 0 : 172.30.0.12 } : 30080
		ip daddr 203.0.113.200 tcp dport 443 dnat to numgen inc mod 1 map { 0 : 172.30.0.12 } : 30443
	}
	chain rejects {
		type filter hook input priority filter; policy accept;
		ip daddr 203.0.113.200 icmp type echo-request accept
		ip daddr 203.0.113.200 meta l4proto tcp reject with tcp reset
		ip daddr 203.0.113.200 reject
	}
	chain passes {
		type filter hook forward priority filter; policy drop;
		ct status dnat accept
	}
	chain masquerades {
		type nat hook postrouting priority srcnat; policy accept;
		ct status dnat masquerade
	}
}
`
	if got := s.rules(); got != want {
		t.Errorf("got\n%s", got)
	}
	s.Health = nil
	if got := s.rules(); strings.Contains(got, "dnat to") || !strings.Contains(got, "ip daddr 203.0.113.200 reject") {
		t.Errorf("without a healthy Node\n%s", got)
	}
}

// fake is a machine that records what is done to it.
type fake struct {
	mu     sync.Mutex
	vips   []string
	rules  string
	forgot []forward
	broken error
}

func (f *fake) do(what func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil {
		what()
	}
	return f.broken
}

func (f *fake) hold(b Balancer) error {
	return f.do(func() {
		if !slices.Contains(f.vips, b.VIP.String()) {
			f.vips = append(f.vips, b.VIP.String())
		}
	})
}

func (f *fake) yield(b Balancer) error {
	return f.do(func() { f.vips = slices.DeleteFunc(f.vips, func(v string) bool { return v == b.VIP.String() }) })
}

func (f *fake) load(rules string) error { return f.do(func() { f.rules = rules }) }
func (f *fake) forget(gone []forward) error {
	return f.do(func() { f.forgot = append(f.forgot, gone...) })
}
func (f *fake) has(text string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Contains(f.rules, text)
}
func (f *fake) holds() []string { f.mu.Lock(); defer f.mu.Unlock(); return slices.Clone(f.vips) }
func (f *fake) forgotten() (all []forward) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.forgot)
}
func (f *fake) breaks(err error) { f.mu.Lock(); defer f.mu.Unlock(); f.broken = err }

// nodes are the Nodes that answer.
type nodes struct {
	mu   sync.Mutex
	dead map[netip.Addr]bool
}

func (n *nodes) ask(_ context.Context, node netip.Addr, _ Check) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead[node] {
		return errors.New("no route to host")
	}
	return nil
}

func (n *nodes) set(node Node, dead bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead[node.Address] = dead
}

func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 10 s: %s", what)
		}
	}
}

// start runs a load balancer over a machine, with the state of an earlier one in dir.
func start(t *testing.T, dir string, m machine, n *nodes) (socket string, stop func()) {
	socket = filepath.Join(dir, "s")
	s := &server{machine: m, health: newHealth(t.Logf), file: filepath.Join(dir, "state", "target.json"), say: t.Logf}
	s.health.ask = n.ask
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, socket) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	soon(t, "the API answers", func() bool { _, err := Read(ctx, AtSocket(socket)); return err == nil })
	return socket, stop
}

// A Target is in effect when Set returns; a Node that fails is out and its connections are forgotten, it returns when it
// answers; another process goes on with the same Target.
func TestBalancer(t *testing.T) {
	m, n, dir := &fake{}, &nodes{dead: map[netip.Addr]bool{}}, t.TempDir()
	socket, stop := start(t, dir, m, n)
	ctx := t.Context()
	if err := Set(ctx, AtSocket(socket), web()); err != nil {
		t.Fatal(err)
	}
	both, one := "mod 2 map { 0 : 172.30.0.11, 1 : 172.30.0.12 } : 30080", "mod 1 map { 0 : 172.30.0.12 } : 30080"
	if !m.has(both) || !slices.Equal(m.holds(), []string{"203.0.113.200"}) {
		t.Fatalf("%v\n%s", m.vips, m.rules)
	}
	n.set(w1, true)
	soon(t, "w1 is out", func() bool { return m.has(one) && len(m.forgotten()) == 3 })
	if want := (forward{web().Balancers[0].VIP, UDP, 80, w1.Address, 30080}); !slices.Contains(m.forgotten(), want) {
		t.Errorf("forgotten: %+v", m.forgotten())
	}
	state, err := Read(ctx, AtSocket(socket))
	if err != nil || len(state.Healthy(web().Balancers[0].Listeners[0])) != 1 || !slices.ContainsFunc(state.Health, func(h Health) bool { return h.Node == w1 && !h.Healthy && h.Why == "no route to host" }) {
		t.Errorf("%+v (%v)", state, err)
	}
	n.set(w1, false)
	soon(t, "w1 is back", func() bool { return m.has(both) })
	stop()

	m = &fake{}
	socket, stop = start(t, dir, m, n)
	defer stop()
	soon(t, "the target of the process before", func() bool { return m.has(both) && len(m.holds()) == 1 })
	m.breaks(errors.New("no such device"))
	if err := Set(ctx, AtSocket(socket), Target{}); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("a Target that cannot be put into effect: %v", err)
	}
	if state, err := Read(ctx, AtSocket(socket)); err != nil || state.Problem == "" {
		t.Errorf("%+v (%v)", state, err)
	}
	m.breaks(nil)
	if err := Set(ctx, AtSocket(socket), Target{}); err != nil || len(m.holds()) != 0 || m.has("dnat to") {
		t.Errorf("without Services: %v, VIPs %v\n%s", err, m.holds(), m.rules)
	}
}

func TestBadTargets(t *testing.T) {
	socket, stop := start(t, t.TempDir(), &fake{}, &nodes{dead: map[netip.Addr]bool{}})
	defer stop()
	for name, spoil := range map[string]func(*Target){
		"not an IPv4 address of its own": func(t *Target) { t.Balancers = append(t.Balancers, t.Balancers[0]) },
		`protocol "sctp"`:                func(t *Target) { t.Balancers[0].Listeners[0].Protocol = "sctp" },
		"node w1: ":                      func(t *Target) { t.Nodes[0].Address = netip.MustParseAddr("fd00::1") },
		"fd00::/64 is not":               func(t *Target) { t.Balancers[0].Sources[0] = netip.MustParsePrefix("fd00::/64") },
	} {
		bad := web()
		spoil(&bad)
		if err := Set(t.Context(), AtSocket(socket), bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What asks a Node tells a reply from a refusal, and 200 from 503.
func TestAsk(t *testing.T) {
	serve := func(answer string) Check { return Check{Port: listenOnce(t, answer)} }
	here := netip.MustParseAddr("127.0.0.1")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := ask(ctx, here, serve("")); err != nil {
		t.Errorf("TCP: %v", err)
	}
	closed := Check{Port: freePort(t)}
	if err := ask(ctx, here, closed); err == nil {
		t.Error("a closed port is healthy")
	}
	for status, healthy := range map[string]bool{"200 OK": true, "503 Service Unavailable": false} {
		c := serve(fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status))
		c.Path = "/healthz"
		if err := ask(ctx, here, c); (err == nil) != healthy {
			t.Errorf("%s: %v", status, err)
		}
	}
}
