package balancer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/internal/unixhttp"
)

// Socket is where the load balancer serves its API, in its host: GET returns its State, PUT sets its Target.
const Socket = "/run/netlab/cloud-balancer.sock"

// Target is all that the load balancer does. A Target replaces the one before.
type Target struct {
	Nodes     []Node     `json:"nodes"` // behind every Balancer
	Balancers []Balancer `json:"balancers"`
}

// Node is a machine that connections are forwarded to.
type Node struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
}

// Balancer is the load balancer of one Service: a VIP that the host has on a NIC.
type Balancer struct {
	Service   string         `json:"service"` // NAMESPACE/NAME
	VIP       netip.Addr     `json:"vip"`
	NIC       string         `json:"nic"`
	Sources   []netip.Prefix `json:"sources,omitempty"` // of clients that are served; none: all
	Listeners []Listener     `json:"listeners"`
}

// The protocols of a Listener, as nft writes them.
const (
	TCP = "tcp"
	UDP = "udp"
)

// Listener forwards one port of a VIP to the NodePort of every Node that is healthy by Check.
type Listener struct {
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	NodePort uint16 `json:"nodePort"`
	Check    Check  `json:"check"`
}

// Check is how a Node's health is asked.
type Check struct {
	Port uint16 `json:"port"`           // TCP
	Path string `json:"path,omitempty"` // that HTTP answers with 200; "": it suffices that the port accepts a connection
}

func (c Check) String() string {
	if c.Path == "" {
		return fmt.Sprintf("TCP %d", c.Port)
	}
	return fmt.Sprintf("HTTP %d%s", c.Port, c.Path)
}

// State is what the load balancer does, and how it finds the Nodes.
type State struct {
	Target
	Health  []Health `json:"health"`
	Problem string   `json:"problem,omitempty"` // why the Target is not in effect
}

// Health is the result of a Check of a Node.
type Health struct {
	Node    Node   `json:"node"`
	Check   Check  `json:"check"`
	Healthy bool   `json:"healthy"`
	Why     string `json:"why,omitempty"` // it is not
}

// Find returns the Balancer of a VIP.
func (t Target) Find(vip netip.Addr) (Balancer, bool) {
	i := slices.IndexFunc(t.Balancers, func(b Balancer) bool { return b.VIP == vip })
	if i < 0 {
		return Balancer{}, false
	}
	return t.Balancers[i], true
}

// Healthy lists the Nodes that a Listener forwards to, in the order of the Target.
func (s State) Healthy(l Listener) (nodes []Node) {
	for _, h := range s.Health {
		if h.Check == l.Check && h.Healthy {
			nodes = append(nodes, h.Node)
		}
	}
	return nodes
}

// check reports what of a Target cannot be done.
func (t Target) check() error {
	for _, n := range t.Nodes {
		if !n.Address.Is4() {
			return fmt.Errorf("node %s: %s is not an IPv4 address", n.Name, n.Address)
		}
	}
	for i, b := range t.Balancers {
		if other, _ := (Target{Balancers: t.Balancers[:i]}).Find(b.VIP); !b.VIP.Is4() || other.Service != "" {
			return fmt.Errorf("service %s: %s is not an IPv4 address of its own", b.Service, b.VIP)
		}
		for _, l := range b.Listeners {
			if l.Protocol != TCP && l.Protocol != UDP {
				return fmt.Errorf("service %s: protocol %q is neither %s nor %s", b.Service, l.Protocol, TCP, UDP)
			}
		}
		for _, p := range b.Sources {
			if !p.IsValid() || !p.Addr().Is4() {
				return fmt.Errorf("service %s: %s is not an IPv4 prefix", b.Service, p)
			}
		}
	}
	return nil
}

// Read asks a load balancer for its State.
func Read(ctx context.Context, dial func(context.Context) (net.Conn, error)) (s State, err error) {
	err = request(ctx, dial, http.MethodGet, nil, &s)
	return s, err
}

// Set gives a load balancer another Target. It returns when that is in effect and each Node was asked once.
func Set(ctx context.Context, dial func(context.Context) (net.Conn, error), t Target) error {
	body, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return request(ctx, dial, http.MethodPut, body, nil)
}

// AtSocket dials a load balancer on this machine.
func AtSocket(path string) func(context.Context) (net.Conn, error) { return unixhttp.AtSocket(path) }

func request(ctx context.Context, dial func(context.Context) (net.Conn, error), method string, body []byte, out any) error {
	client := unixhttp.NewClient(dial)
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://cloud/", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("load balancer: %s", strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxTarget)).Decode(out)
}
