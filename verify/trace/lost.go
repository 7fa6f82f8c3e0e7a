package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopacket/gopacket/layers"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// lost describes where a probe without an answer ended: the last interface that saw it and,
// as far as plan and packets show, the next one that should have seen it.
func (c *Captures) lost(p Probe, legs []leg) string {
	who := c.Places[p.Place].name()
	legs = slices.DeleteFunc(slices.Clone(legs), func(l leg) bool { return len(l.hops) > 0 && l.hops[0].arp != nil })
	var last *leg
	var origin seen // where the conversation of the last leg began
	for i := range legs {
		if len(legs[i].hops) == 0 {
			continue
		}
		last = &legs[i]
		if last.leg == Request {
			origin = last.hops[0]
		}
	}
	if last == nil {
		if c.Places[p.Place].Err != "" {
			return ""
		}
		if why := c.unresolved(c.Places[p.Place].Machine, func(netip.Addr) bool { return true }); why != "" {
			return why
		}
		return who + " sent nothing"
	}
	if i := slices.IndexFunc(last.hops, func(s seen) bool { return s.icmp != nil }); i >= 0 {
		s := last.hops[i]
		return fmt.Sprintf("%s answered %s", c.owner(s.src.Addr()), s.icmp.what)
	}
	end := last.hops[len(last.hops)-1]
	subject := ""
	if last.leg == Reply {
		subject = "the reply "
	} else if end.name() == "TCP data" {
		subject = "its data "
	}
	if last.leg == Reply && c.returned(end, origin) || last.leg == Request && c.arrived(end) {
		switch {
		case last.leg == Reply && end.flags&tcpRST != 0:
			return fmt.Sprintf("%s refused the connection", c.owner(last.hops[0].src.Addr()))
		case last.leg == Reply:
			return "" // the answer is not the expected one, but nothing was lost
		}
		return strings.TrimSpace(subject + fmt.Sprintf("reached %s, which sent no answer", c.where(end)))
	}
	verb := "reached"
	if end.out {
		verb = "left"
	}
	how := ""
	if end.outer != nil {
		how = " as " + end.outer.Kind
	}
	sentence := fmt.Sprintf("%s%s %s%s, %s", subject, verb, c.where(end), how, c.next(end))
	machine := c.Places[end.place].Machine
	if !end.out {
		why := c.unresolved(machine, func(a netip.Addr) bool {
			_, _, ours := c.Facts.machine(a)
			return ours || a == end.dst.Addr()
		})
		sentence = strings.TrimSuffix(sentence+": "+why, ": ")
	}
	return sentence
}

// where describes an interface.
func (c *Captures) where(s seen) string { return c.Places[s.place].name() + " " + s.link.Name }

// returned reports that a reply is back where its conversation began: at the interface that
// the first request was seen on, in the other direction, or at the place with its address.
func (c *Captures) returned(s, origin seen) bool {
	if s.packet == nil || origin.packet == nil || s.place != origin.place || s.outer != nil {
		return false
	}
	if s.link.Index == origin.link.Index {
		return s.out != origin.out || s.link.Name == "lo"
	}
	return !s.out && origin.out && s.dst == origin.src
}

// arrived reports that a request is at its destination: at the owner of the address, or in
// front of a Pod without a capture.
func (c *Captures) arrived(s seen) bool {
	if s.out {
		pod, ok := c.Facts.pod(s.dst.Addr())
		return ok && s.link.Kind == "veth" && pod.Node == c.Places[s.place].Machine && !c.captured(pod.Name)
	}
	return s.outer == nil && slices.ContainsFunc(c.Places[s.place].Ready.Links, func(l agent.Link) bool {
		return slices.ContainsFunc(l.Addresses, func(a string) bool {
			prefix, err := netip.ParsePrefix(a)
			return err == nil && prefix.Addr() == s.dst.Addr() && c.listens(s)
		})
	})
}

// listens reports that an address of a place is not only translated there, as that of a
// NodePort is.
func (c *Captures) listens(s seen) bool {
	m, ok := c.Facts.Plan.Machine(c.Places[s.place].Machine)
	return !ok || m.Kind != topology.KindNode || c.Places[s.place].Pod != "" || s.dst.Port() < 30000 || s.dst.Port() > 32767
}

func (c *Captures) captured(pod string) bool {
	return slices.ContainsFunc(c.Places, func(p Place) bool { return p.Pod == pod && p.Err == "" })
}

// next describes where a packet should have been seen after a hop.
func (c *Captures) next(s seen) string {
	place := c.Places[s.place]
	m, _ := c.Facts.Plan.Machine(place.Machine)
	never := func(format string, args ...any) string { return "never " + fmt.Sprintf(format, args...) }
	if s.out {
		switch {
		case place.Pod != "":
			if _, link, ok := c.nodeEnd(place, s.link); ok {
				return never("reached %s %s", place.Machine, link.Name)
			}
			return never("reached %s", place.Machine)
		case c.isNIC(s.place, s.link):
			if to, nic, ok := c.Facts.station(s.macDst.String()); ok {
				return never("reached %s %s", to.Name, nic.Name)
			}
			return never("reached the machine with MAC %s", s.macDst)
		case c.decoder.tunnel.wraps(s.link) && len(m.NICs) > 0:
			return never("left %s %s", m.Name, m.NICs[0].Name)
		}
	}
	if s.outer != nil {
		if name := c.tunnel(s.place); name != "" {
			return never("reached %s %s", m.Name, name)
		}
		return "and went no further in " + place.Machine
	}
	pod, isPod := c.Facts.pod(s.dst.Addr())
	switch {
	case m.Kind == topology.KindNode && isPod && pod.Node == m.Name:
		return never("reached %s", pod.Name)
	case m.Kind == topology.KindNode && isPod:
		if name := c.tunnel(s.place); name != "" && c.Facts.Encapsulation.Kind != "" && s.link.Name != name {
			return never("left %s %s", m.Name, name)
		}
		return never("left %s %s", m.Name, c.nicTowards(m, c.nodeAddress(pod.Node)))
	case c.Facts.Services[s.dst.Addr()] != "":
		return fmt.Sprintf("and went no further in %s as %s", place.Machine, text(s.dst))
	}
	if owner, _, ours := c.Facts.machine(s.dst.Addr()); ours && owner.Name != m.Name && m.Forward {
		return never("left %s %s", m.Name, c.nicTowards(m, s.dst.Addr()))
	}
	return "and went no further in " + place.Machine
}

// tunnel is the name of a machine's interface that encapsulates and decapsulates.
func (c *Captures) tunnel(place int) string {
	for _, l := range c.Places[place].Ready.Links {
		if c.decoder.tunnel.wraps(l) {
			return l.Name
		}
	}
	return ""
}

func (c *Captures) nodeAddress(node string) netip.Addr {
	m, ok := c.Facts.Plan.Machine(node)
	if !ok {
		return netip.Addr{}
	}
	return m.Address()
}

// nicTowards names the NICs over which the plan's routes lead to an address.
func (c *Captures) nicTowards(m topology.Machine, to netip.Addr) string {
	var nics []string
	for _, way := range c.Facts.Plan.Ways(m, to) {
		if !slices.Contains(nics, way.Out.Name) {
			nics = append(nics, way.Out.Name)
		}
	}
	return cmp.Or(strings.Join(nics, " or "), "by any interface")
}

// unresolved reports an address for which a machine's ARP requests got no reply.
func (c *Captures) unresolved(machine string, of func(netip.Addr) bool) string {
	for _, p := range c.packets {
		if p.arp == nil || !p.out || p.arp.Operation != layers.ARPRequest || c.Places[p.place].Machine != machine {
			continue
		}
		target := addr(p.arp.DstProtAddress)
		answered := slices.ContainsFunc(c.packets, func(r *packet) bool {
			return r.place == p.place && !r.out && r.arp != nil && r.arp.Operation == layers.ARPReply && addr(r.arp.SourceProtAddress) == target
		})
		if !answered && of(target) && c.Places[p.place].Pod == "" {
			return fmt.Sprintf("%s asks on %s who has %s, no ARP reply", c.Places[p.place].name(), p.link.Name, target)
		}
	}
	return ""
}
