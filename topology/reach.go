package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Reachability is how a machine reaches an address over the lab's networks, or why it does not.
// It follows from the Plan's NICs and routes only, without NAT, the Pod network or the state of
// machines.
type Reachability struct {
	Source netip.Addr `json:"source"`           // address that the packets leave with; the zero Addr where there is no route
	There  []Hop      `json:"there,omitempty"`  // networks a packet crosses, in order; none for one of the machine's own addresses
	Others [][]Hop    `json:"others,omitempty"` // other ways there, where routers spread flows over several next hops
	Back   []Hop      `json:"back,omitempty"`   // networks that the reply crosses
	MTU    int        `json:"mtu,omitempty"`    // largest IP packet that gets there unfragmented
	Reason string     `json:"reason,omitempty"` // why the address is not reachable; "" where it is
}

// Hop is one network that a packet crosses, from the machine that sends it to the one that
// receives it.
type Hop struct {
	Network string `json:"network"`
	From    string `json:"from"` // machine
	Out     string `json:"out"`  // its NIC
	To      string `json:"to"`   // machine; "" for an address that no single machine of the lab has
	In      string `json:"in"`   // its NIC; "" where To is
}

// Reachable reports whether packets get to the address and replies come back.
func (w Reachability) Reachable() bool { return w.Reason == "" }

// OnLink reports whether the address is on one of the machine's networks, so that it is resolved
// by ARP.
func (w Reachability) OnLink() bool {
	return len(w.There) == 1 && (w.Reachable() || w.There[0].To == "")
}

// Routers returns the machines that forward every packet, whichever way it takes, in order.
func (w Reachability) Routers() []string {
	names := forwarders(w.There)
	for _, other := range w.Others {
		also := forwarders(other)
		names = slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(also, n) })
	}
	return names
}

func forwarders(hops []Hop) []string {
	var names []string
	for i, h := range hops {
		if i > 0 {
			names = append(names, h.From)
		}
	}
	return names
}

// loopback is the MTU of Linux' lo.
const loopback = 65536

// Reach returns how a machine reaches an address: a machine's own, a VIP of a pool, or one
// that no machine of the lab has. It follows routes as Linux does: the longest prefix, of
// connected networks, static routes and those that routers learn alike, and all next hops of a
// route, each of which must lead there; the source address is the outgoing NIC's
// (RFC 1122, section 3.3.4.3); only machines that forward pass packets on. The reply has to
// come back too, by the routes of the far end (reverse path filters are off).
// For a VIP, which any Node on the pool's network may announce, or any Node to its router, every such
// Node's reply must; one of mode external is an address of the host that has them.
func Reach(p Plan, from string, to netip.Addr) Reachability {
	m, ok := p.Machine(from)
	if !ok {
		return Reachability{Reason: fmt.Sprintf("the lab has no machine %s", from)}
	}
	if m.has(to) || p.holds(m, to) {
		return Reachability{Source: to, MTU: loopback}
	}
	w := Reachability{Source: p.source(m, to)}
	switch {
	case !w.Source.IsValid():
		w.Reason = p.noRoute(m, to)
	case slices.ContainsFunc(p.Kubernetes.ServiceCIDRs, contains(to)):
		w.Reason = fmt.Sprintf("%s is in the Service CIDR, which no network of the lab routes", to)
	case slices.ContainsFunc(p.Kubernetes.PodCIDRs, contains(to)):
		w.Reason = fmt.Sprintf("%s is in the Pod CIDR, whose routes are the CNI's", to)
	}
	if w.Reason != "" {
		return w
	}
	there := p.walk(m, to)
	w.There, w.Others, w.Reason = there.ways[0], there.ways[1:], there.reason
	if w.Reason != "" {
		return w
	}
	w.MTU = p.smallestMTU(slices.Concat(there.ways...))
	w.Back, w.Reason = p.replies(there.reached, to, m, w)
	return w
}

// replies follows the replies of the machines that may have received the packet. It returns
// the way of the first.
func (p Plan) replies(reached []Machine, to netip.Addr, m Machine, w Reachability) ([]Hop, string) {
	if len(reached) == 0 { // a machine beyond an uplink, whose routes are unknown
		last := w.There[len(w.There)-1]
		if len(w.There) > 1 {
			return nil, fmt.Sprintf("%s is beyond network %s's bridge, where no route back to %s is known", to, last.Network, w.Source)
		}
		return []Hop{{Network: last.Network, To: last.From, In: last.Out}}, ""
	}
	var first []Hop
	for _, far := range reached {
		if far.Name == m.Name {
			continue // a Node sends to a VIP that it may announce itself
		}
		back := p.walk(far, w.Source)
		if back.reason != "" {
			return nil, "no reply: " + back.reason
		}
		if first == nil {
			first = back.ways[0]
		}
	}
	return first, ""
}

// walk is where a packet goes.
type walk struct {
	ways    [][]Hop   // the networks crossed, by each way; the first alone if it does not arrive
	reached []Machine // that may receive it: none where the address is beyond an uplink
	reason  string    // why it does not arrive; "" where it does
}

// walk follows a packet from a machine to an address, by every next hop.
func (p Plan) walk(m Machine, to netip.Addr) walk {
	return p.onward(m, to, []string{m.Name}, nil)
}

// onward continues a walk at a machine, after those seen and the hops so far.
func (p Plan) onward(m Machine, to netip.Addr, seen []string, hops []Hop) walk {
	ways := p.Ways(m, to)
	if len(ways) == 0 {
		return walk{ways: [][]Hop{hops}, reason: p.noRoute(m, to)}
	}
	var all walk
	for _, way := range ways {
		one := p.step(m, way, to, seen, hops)
		if one.reason != "" {
			return one
		}
		all.ways = append(all.ways, one.ways...)
		for _, r := range one.reached {
			if !slices.ContainsFunc(all.reached, func(o Machine) bool { return o.Name == r.Name }) {
				all.reached = append(all.reached, r)
			}
		}
	}
	return all
}

// step continues a walk by one next hop of a machine.
func (p Plan) step(m Machine, way Way, to netip.Addr, seen []string, hops []Hop) walk {
	hop := Hop{Network: way.Out.Network, From: m.Name, Out: way.Out.Name}
	next, in, ok := p.owner(way.Out.Network, way.Via)
	if !ok && way.Via == to {
		reached, reason := p.receivers(way.Out.Network, to)
		return walk{[][]Hop{append(slices.Clip(hops), hop)}, reached, reason}
	}
	if !ok {
		hops, reached, reason := p.leave(append(slices.Clip(hops), hop), m, to, way.Via)
		return walk{[][]Hop{hops}, reached, reason}
	}
	hop.To, hop.In = next.Name, in.Name
	hops = append(slices.Clip(hops), hop)
	if next.has(to) || next.shares(to) || p.holds(next, to) || next.Kind == KindNode && p.routed(to) { // kube-proxy takes it
		return walk{ways: [][]Hop{hops}, reached: []Machine{next}}
	}
	var reason string
	switch {
	case !next.Forward:
		reason = fmt.Sprintf("%s does not forward packets", next.Name)
	case slices.Contains(seen, next.Name):
		reason = fmt.Sprintf("packets to %s loop: %s", to, strings.Join(append(slices.Clip(seen), next.Name), ", "))
	default:
		return p.onward(next, to, append(slices.Clip(seen), next.Name), hops)
	}
	return walk{ways: [][]Hop{hops}, reason: reason}
}

// receivers returns the machines that may answer on a network for an address that no machine
// has: the Nodes there for a VIP, none for an address beyond an uplink.
func (p Plan) receivers(network string, to netip.Addr) ([]Machine, string) {
	n, _ := p.Network(network)
	if p.LoadBalancer.Contains(to) {
		nodes := p.machines(func(m Machine) bool {
			return m.Kind == KindNode && slices.ContainsFunc(m.NICs, func(n NIC) bool { return n.Network == network })
		})
		if len(nodes) == 0 {
			return nil, fmt.Sprintf("no Node is on network %s to answer for VIP %s", network, to)
		}
		return nodes, ""
	}
	if n.Uplink != "" {
		return nil, ""
	}
	return nil, fmt.Sprintf("no machine on network %s has %s", network, to)
}

// Way is a NIC by which a machine sends, and the next hop: the destination itself where it is on a
// connected network.
type Way struct {
	Out NIC
	Via netip.Addr
}

// Ways returns the ways by which a machine sends to an address: none without a route, and several
// if it has learned a route with several next hops.
func (p Plan) Ways(m Machine, to netip.Addr) (ways []Way) {
	best := -1
	for _, nic := range m.NICs {
		for _, a := range nic.Addresses {
			if a.Contains(to) && a.Bits() > best {
				ways, best = []Way{{nic, to}}, a.Bits()
			}
		}
	}
	for _, r := range m.Routes {
		if nic, ok := m.towards(r.Via); ok && r.To.Contains(to) && r.To.Bits() > best {
			ways, best = []Way{{nic, r.Via}}, r.To.Bits()
		}
	}
	for _, r := range p.learnedFor(m, to) {
		if !r.To.Contains(to) || r.To.Bits() <= best {
			continue
		}
		ways, best = nil, r.To.Bits()
		for _, via := range r.Via {
			if nic, ok := m.towards(via); ok {
				ways = append(ways, Way{nic, via})
			}
		}
	}
	return ways
}

// towards returns the machine's first NIC on whose network an address is.
func (m Machine) towards(a netip.Addr) (NIC, bool) {
	i := slices.IndexFunc(m.NICs, func(n NIC) bool { return n.OnLink(a) })
	if i < 0 {
		return NIC{}, false
	}
	return m.NICs[i], true
}

// source returns the address that a machine's packets to an address leave with: the outgoing
// NIC's, of the first way. The zero Addr stands for no route.
func (p Plan) source(m Machine, to netip.Addr) netip.Addr {
	ways := p.Ways(m, to)
	if len(ways) == 0 {
		return netip.Addr{}
	}
	nic, via := ways[0].Out, ways[0].Via
	i := slices.IndexFunc(nic.Addresses, func(a netip.Prefix) bool { return a.Contains(via) })
	return nic.Addresses[i].Addr()
}

// owner finds the machine with an address on a network, and its NIC there: for a VIP that hosts share,
// the one that holds it if all are on.
func (p Plan) owner(network string, a netip.Addr) (Machine, NIC, bool) {
	for _, m := range p.Machines {
		for _, nic := range m.NICs {
			if nic.Network == network && (nic.Has(a) || m.shares(a) || nic.OnLink(a) && p.holds(m, a)) {
				return m, nic, true
			}
		}
	}
	return Machine{}, NIC{}, false
}

// smallestMTU returns the smallest MTU of the NICs and bridges along a way.
func (p Plan) smallestMTU(hops []Hop) int {
	smallest := loopback
	for _, h := range hops {
		if n, ok := p.Network(h.Network); ok {
			smallest = min(smallest, n.MTU)
		}
		for _, end := range []struct{ machine, nic string }{{h.From, h.Out}, {h.To, h.In}} {
			m, _ := p.Machine(end.machine)
			for _, nic := range m.NICs {
				if nic.Name == end.nic {
					smallest = min(smallest, nic.MTU)
				}
			}
		}
	}
	return smallest
}

func (m Machine) has(a netip.Addr) bool {
	return slices.ContainsFunc(m.NICs, func(n NIC) bool { return n.Has(a) })
}

// contains returns a test of whether a prefix has an address.
func contains(a netip.Addr) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool { return p.Contains(a) }
}

// leave follows a packet to a next hop that no machine of the lab has: a gateway beyond an
// uplink. What is behind it is not known, but for the networks of the lab: it has no routes to
// those.
func (p Plan) leave(hops []Hop, m Machine, to, via netip.Addr) ([]Hop, []Machine, string) {
	network := hops[len(hops)-1].Network
	n, _ := p.Network(network)
	inside := slices.ContainsFunc(p.Networks, func(n Network) bool { return slices.ContainsFunc(n.CIDRs, contains(to)) })
	switch {
	case !n.External || n.Gateway() != via:
		return hops[:len(hops)-1], nil, fmt.Sprintf("%s routes %s via %s, which no machine on network %s has", m.Name, to, via, network)
	case inside:
		return hops, nil, fmt.Sprintf("%s routes %s via gateway %s of network %s, which is not the lab's", m.Name, p.rangeOf(to), via, network)
	}
	return hops, nil, ""
}
