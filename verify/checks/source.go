package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Source is the source address that the destination should see.
type Source string

// The sources that a destination may see.
const (
	Loopback            Source = "127.0.0.1"
	Preserved           Source = "the client's own address (no NAT)"
	PreservedButHairpin Source = "the client's own address (no NAT), except where a Pod reaches itself"
	Kept                Source = "the client's own address (kept)"
	ClientOrNode        Source = "the client's address or a Node's"
	ClientOrOwnNode     Source = "the client's address or its own Node's"
	ShortCut            Source = "the client's address or its own Node's (translated there, without a detour through the VIP's announcer); any Node's where the Service's status says ipMode: Proxy"
	EgressNode          Source = "the address of the client's Node (SNAT)"
	Balancer            Source = "the load balancer's address"
	BalancerOrNode      Source = "the load balancer's address or a Node's"
)

// ClientIP asserts the source address that the destination sees. By the VIP of a host outside the cluster it is
// that of the host, which is the Nodes' client.
type ClientIP struct {
	alone
	Is    Source
	Local Source // under externalTrafficPolicy Local, where that differs
	VIP   bool   // of a VIP
}

func (c ClientIP) String() string {
	out := "source seen: " + string(c.Is)
	if c.Local != "" {
		out += "; under externalTrafficPolicy Local: " + string(c.Local)
	}
	if c.VIP {
		out += "; in mode external, in place of the client's: " + string(Balancer)
	}
	return out
}

// Judge compares the source of each answer.
func (c ClientIP) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	seen, bad := answersOfAgents(got[PartMain])
	if got[PartMain].Outcome != agent.Reply || bad != nil {
		return nil
	}
	want, accepts := c.expected(s, r)
	var wrong []string
	for _, x := range seen {
		if !accepts(x) {
			wrong = append(wrong, x.Remote)
		}
	}
	observed := strings.Join(seen.sources(), ",")
	if len(wrong) > 0 {
		slices.Sort(wrong)
		observed = strings.Join(slices.Compact(wrong), " ")
	}
	return []report.Property{{Key: report.KeySource, Name: "source seen", Expected: want, Observed: cmp.Or(observed, "nothing"), OK: len(seen) > 0 && len(wrong) == 0}}
}

// expected describes the source that a row expects, and returns which ones it accepts.
func (c ClientIP) expected(s observe.Snapshot, r Row) (want string, accepts func(agent.Seen) bool) {
	client := clientIP(s, r)
	from := func(all ...string) func(agent.Seen) bool {
		return func(x agent.Seen) bool { return slices.Contains(all, x.Remote) }
	}
	kind := c.Is
	if c.Local != "" && r.Local() {
		kind = c.Local
	}
	if kind == ShortCut && s.Services[r.To.Name].Proxied {
		kind = ClientOrNode
	}
	balancer, external := balancerIP(s)
	if external && c.VIP {
		kind = map[bool]Source{true: Balancer, false: BalancerOrNode}[r.Local()]
	}
	switch kind {
	case Balancer:
		return balancer + " (the load balancer's)", from(balancer)
	case BalancerOrNode:
		return balancer + " (the load balancer's) or a Node's", func(x agent.Seen) bool { return x.Remote == balancer || s.NodeSide(x.Remote) }
	case Loopback:
		return string(Loopback), from(string(Loopback))
	case Kept:
		return client + " (kept)", from(client)
	case EgressNode:
		node, _ := s.Plan.Machine(r.From.Node)
		addr, _ := outsideAddress(s.Plan, node.Name, r.To)
		ip := s.SourceIP(node.Name, addr)
		return ip + " (" + node.Name + ")", from(ip)
	case ClientOrNode:
		return client + " or a Node's", func(x agent.Seen) bool { return x.Remote == client || s.NodeSide(x.Remote) }
	case ClientOrOwnNode, ShortCut:
		// Traffic from a Pod to a Node's address may leave with the address of the Pod's Node. On
		// the short cut to a VIP the Pod may be the backend itself (hairpin, as below).
		own := s.MachineIP(r.From.Node)
		return fmt.Sprintf("%s or its Node's %s", client, own), func(x agent.Seen) bool {
			return from(client, own)(x) || s.OwnEnd(x.Remote, r.From.Node) || kind == ShortCut && x.Name == r.From.Name
		}
	case PreservedButHairpin:
		// A Pod that a Service sends back to itself (hairpin) sees a rewritten source: it could
		// not answer otherwise.
		return client + " (no NAT)", func(x agent.Seen) bool { return x.Remote == client || x.Name == r.From.Name }
	}
	return client + " (no NAT)", from(client)
}

// outsideAddress returns the address of a host outside the cluster that Pods of a Node connect
// to: the first that the Node reaches, or that of the lab's outside DNS for a name.
func outsideAddress(plan topology.Plan, node string, to observe.Ref) (netip.Addr, topology.Reachability) {
	if to.Kind == report.AtName {
		return topology.Nearest(plan, node, plan.Names[workload.OutsideName(plan)])
	}
	host, _ := plan.Machine(to.Name)
	return topology.Nearest(plan, node, host.Addresses())
}

// clientIP is the address of a row's client; for an outside host the one on the network of
// the destination, else its first.
func clientIP(s observe.Snapshot, r Row) string {
	if r.From.Kind != report.AtHost {
		return s.PodIPs[r.From.Name]
	}
	m, _ := s.Plan.Machine(r.From.Name)
	_, ip, err := s.Address(r.From, r.To, r.Protocol)
	addr, parse := netip.ParseAddr(ip)
	if err != nil || parse != nil {
		return m.Address().String()
	}
	return s.SourceIP(m.Name, addr)
}
