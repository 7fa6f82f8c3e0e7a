package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"netlab.dev/netlab/verify/agent"
)

// seen is a packet as one hop of a leg.
type seen struct {
	*packet
	at int64 // nanos by the clock of the probe's sender, as far as it can be determined
}

// leg is a flow in order: every interface and direction once.
type leg struct {
	flow
	hops []seen
}

// assemble puts the flows of a probe in order and derives its evidence.
func (c *Captures) assemble(p Probe, flows []flow) Evidence {
	e := Evidence{Hops: []Hop{}}
	legs := c.ordered(flows, c.clocks(p.Place, flows))
	var start int64
	for _, l := range legs {
		for _, s := range l.hops {
			if start == 0 || s.at < start {
				start = s.at
			}
		}
	}
	done := translations{}
	for _, l := range legs {
		var before *seen
		for i := range l.hops {
			s := &l.hops[i]
			h := c.hop(*s, l.leg, (s.at-start)/1000)
			if before != nil {
				h.Changes = c.changes(before, s, l.leg, done)
			} else if l.note.What != "" {
				h.Changes = []Change{l.note}
			}
			if s.arp != nil && h.Packet == "ARP is at" && h.Direction == Out {
				h.Changes = append(h.Changes, Change{What: fmt.Sprintf("%s is at %s, %s", addr(s.arp.SourceProtAddress), mac(s.arp.SourceHwAddress), h.Machine),
					By: c.announcer(addr(s.arp.SourceProtAddress))})
			}
			if by := c.Facts.Listeners[s.dst]; by != "" && l.leg == Request && !s.out && c.arrived(*s) {
				h.Changes = append(h.Changes, Change{What: "received", By: by})
			}
			before = s
			e.Hops = append(e.Hops, h)
		}
	}
	slices.SortStableFunc(e.Hops, func(a, b Hop) int { return cmp.Compare(a.Micros, b.Micros) })
	e.Hidden = c.hidden(legs)
	switch {
	case !p.Answered:
		e.Lost = c.lost(p, legs)
	case p.ARP.IsValid() && len(legs[0].hops) > 0 && len(legs[1].hops) == 0:
		// The packets themselves used the client's ARP cache.
		e.Lost = c.unresolved(c.Places[p.Place].Machine, func(a netip.Addr) bool { return a == p.ARP })
	}
	return e
}

// once keeps each interface and direction of a flow once, with times by one clock.
func (c *Captures) once(f flow, clocks map[string]int64) leg {
	l := leg{flow: f}
	type place struct {
		place, link  int
		out, wrapped bool
		src, dst     netip.AddrPort
		icmp         bool
	}
	known := map[place]bool{}
	for _, p := range f.packets {
		key := place{p.place, p.link.Index, p.out, p.outer != nil, p.src, p.dst, p.icmp != nil}
		if known[key] {
			continue
		}
		known[key] = true
		l.hops = append(l.hops, seen{p, p.nanos - clocks[c.Places[p.place].Ready.Boot]})
	}
	return l
}

func (c *Captures) hop(s seen, legName string, micros int64) Hop {
	place := c.Places[s.place]
	h := Hop{Machine: place.Machine, Pod: place.Pod, Peer: c.peer(s.packet), Interface: s.link.Name, Direction: In, Leg: legName,
		Micros: micros, Packet: s.name(), Source: text(s.src), Destination: text(s.dst), Outer: s.outer, TTL: s.ttl, Bytes: s.bytes}
	if s.out {
		h.Direction = Out
	}
	if s.arp != nil {
		h.Packet, h.Source, h.Destination = s.name(), addr(s.arp.SourceProtAddress).String(), addr(s.arp.DstProtAddress).String()
	}
	return h
}

// text leaves out a port of 0.
func text(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// peer is the Pod behind a Node's end of a veth: by the Pod's own capture, else by the
// addresses of the packets.
func (c *Captures) peer(p *packet) string {
	place := c.Places[p.place]
	if place.Pod != "" || p.link.Kind != "veth" || c.isNIC(p.place, p.link) {
		return ""
	}
	for _, other := range c.Places {
		if other.Pod == "" || other.Machine != place.Machine {
			continue
		}
		for _, l := range other.Ready.Links {
			if l.Kind == "veth" && l.Peer == p.link.Index {
				return other.Pod
			}
		}
	}
	ip := p.src.Addr()
	if p.out {
		ip = p.dst.Addr()
	}
	if pod, ok := c.Facts.pod(ip); ok && pod.Node == place.Machine {
		return pod.Name
	}
	return ""
}

// isNIC reports whether a link of a machine's namespace is one of the plan's NICs.
func (c *Captures) isNIC(place int, link agent.Link) bool {
	m, ok := c.Facts.Plan.Machine(c.Places[place].Machine)
	if !ok || c.Places[place].Pod != "" {
		return false
	}
	for _, nic := range m.NICs {
		if nic.Name == link.Name {
			return true
		}
	}
	return false
}

// hidden lists the hops that were not seen although the packet went on, and what the
// captures themselves missed.
func (c *Captures) hidden(legs []leg) []string {
	var out []string
	add := func(s string) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, l := range legs {
		for _, s := range l.hops {
			place := c.Places[s.place]
			if place.Pod == "" || s.link.Kind != "veth" {
				continue
			}
			node, link, ok := c.nodeEnd(place, s.link)
			if !ok || slices.ContainsFunc(l.hops, func(o seen) bool { return o.place == node && o.link.Index == link.Index && o.out != s.out }) {
				continue
			}
			way := "into"
			if s.out {
				way = "out of"
			}
			add(fmt.Sprintf("%s %s on the way %s %s: not visible here", place.Machine, link.Name, way, place.Pod))
		}
	}
	for i := range legs {
		if i > 0 && legs[i].leg == Reply && legs[i-1].leg == Request {
			if s := c.hiddenInto(legs[i-1], legs[i]); s != "" {
				add(s)
			}
		}
	}
	if len(legs) > 0 {
		if s := c.translatedBefore(legs); s != "" {
			add(s)
		}
	}
	for _, p := range c.Places {
		switch {
		case p.Err != "":
			add(fmt.Sprintf("nothing was captured at %s: %s", p.name(), p.Err))
		case p.End.Missed > 0:
			add(fmt.Sprintf("the capture at %s missed %d frames", p.name(), p.End.Missed))
		case p.End.Why != "":
			add(fmt.Sprintf("the capture at %s ended early: %s", p.name(), p.End.Why))
		}
	}
	return out
}

// hiddenInto reports a request that no interface saw enter a Pod without a capture, which
// answered.
func (c *Captures) hiddenInto(request, reply leg) string {
	if len(request.hops) == 0 || len(reply.hops) == 0 {
		return ""
	}
	s := reply.hops[0]
	peer := c.peer(s.packet)
	if peer == "" || s.out || c.captured(peer) ||
		slices.ContainsFunc(request.hops, func(o seen) bool { return o.place == s.place && o.link.Index == s.link.Index && o.out }) {
		return ""
	}
	return fmt.Sprintf("%s %s on the way into %s: not visible here", c.Places[s.place].Machine, s.link.Name, peer)
}

// nodeEnd finds the Node's end of a Pod's veth.
func (c *Captures) nodeEnd(pod Place, link agent.Link) (place int, _ agent.Link, ok bool) {
	for i, p := range c.Places {
		if p.Machine != pod.Machine || p.Pod != "" || p.Err != "" {
			continue
		}
		for _, l := range p.Ready.Links {
			if l.Index == link.Peer && l.Kind == "veth" {
				return i, l, true
			}
		}
	}
	return 0, agent.Link{}, false
}
