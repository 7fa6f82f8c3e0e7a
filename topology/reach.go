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

// Routers returns the machines that forward the packet, in order.
func (w Reachability) Routers() []string {
	var names []string
	for i, h := range w.There {
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
// connected networks and static routes alike; the source address is the outgoing NIC's
// (RFC 1122, section 3.3.4.3); only machines that forward pass packets on. The reply has to
// come back too, by the routes of the far end (reverse path filters are off).
// For a VIP, which any Node on the pool's network may announce, every such Node's reply must.
func Reach(p Plan, from string, to netip.Addr) Reachability {
	m, ok := p.Machine(from)
	if !ok {
		return Reachability{Reason: fmt.Sprintf("the lab has no machine %s", from)}
	}
	if m.has(to) {
		return Reachability{Source: to, MTU: loopback}
	}
	w := Reachability{Source: source(m, to)}
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
	var reached []Machine
	if w.There, reached, w.Reason = p.walk(m, to); w.Reason != "" {
		return w
	}
	w.MTU = p.smallestMTU(w.There)
	w.Back, w.Reason = p.replies(reached, to, m, w)
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
		back, _, reason := p.walk(far, w.Source)
		if reason != "" {
			return nil, "no reply: " + reason
		}
		if first == nil {
			first = back
		}
	}
	return first, ""
}

// walk follows a packet from a machine to an address. It returns the networks crossed and the
// machines that may receive it: none where the address is beyond an uplink. The reason is why
// it does not arrive.
func (p Plan) walk(m Machine, to netip.Addr) (hops []Hop, reached []Machine, reason string) {
	seen := []string{m.Name}
	for {
		nic, via, ok := m.Route(to)
		if !ok {
			return hops, nil, p.noRoute(m, to)
		}
		hop := Hop{Network: nic.Network, From: m.Name, Out: nic.Name}
		next, in, ok := p.owner(nic.Network, via)
		if !ok && via == to {
			reached, reason = p.receivers(nic.Network, to)
			return append(hops, hop), reached, reason
		}
		if !ok {
			return p.leave(append(hops, hop), m, to, via)
		}
		hop.To, hop.In = next.Name, in.Name
		hops = append(hops, hop)
		if next.has(to) {
			return hops, []Machine{next}, ""
		}
		if !next.Forward {
			return hops, nil, fmt.Sprintf("%s does not forward packets", next.Name)
		}
		if slices.Contains(seen, next.Name) {
			return hops, nil, fmt.Sprintf("packets to %s loop: %s", to, strings.Join(append(seen, next.Name), ", "))
		}
		seen = append(seen, next.Name)
		m = next
	}
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

// Route returns the NIC by which the machine sends to an address, and the next hop: the address
// itself where it is on a connected network.
func (m Machine) Route(to netip.Addr) (out NIC, via netip.Addr, ok bool) {
	best := -1
	for _, nic := range m.NICs {
		for _, a := range nic.Addresses {
			if a.Contains(to) && a.Bits() > best {
				out, via, best = nic, to, a.Bits()
			}
		}
	}
	for _, r := range m.Routes {
		if !r.To.Contains(to) || r.To.Bits() <= best {
			continue
		}
		for _, nic := range m.NICs {
			if nic.OnLink(r.Via) {
				out, via, best = nic, r.Via, r.To.Bits()
				break
			}
		}
	}
	return out, via, best >= 0
}

// source returns the address that a machine's packets to an address leave with: the outgoing
// NIC's. The zero Addr stands for no route.
func source(m Machine, to netip.Addr) netip.Addr {
	nic, via, ok := m.Route(to)
	if !ok {
		return netip.Addr{}
	}
	i := slices.IndexFunc(nic.Addresses, func(a netip.Prefix) bool { return a.Contains(via) })
	return nic.Addresses[i].Addr()
}

// owner finds the machine with an address on a network, and its NIC there.
func (p Plan) owner(network string, a netip.Addr) (Machine, NIC, bool) {
	for _, m := range p.Machines {
		for _, nic := range m.NICs {
			if nic.Network == network && nic.Has(a) {
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
