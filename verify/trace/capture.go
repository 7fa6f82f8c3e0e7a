package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket/layers"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// Place is one network namespace, and what was captured there.
type Place struct {
	Machine string
	Pod     string // "" for the machine's own namespace
	Ready   agent.Ready
	Frames  []agent.Frame
	End     agent.End
	Err     string // why nothing was captured
}

// name is the place's name in messages.
func (p Place) name() string { return or(p.Pod, p.Machine) }

func (p Place) link(index int) agent.Link {
	for _, l := range p.Ready.Links {
		if l.Index == index {
			return l
		}
	}
	return agent.Link{Index: index, Name: fmt.Sprintf("interface %d", index)}
}

// Facts are what is known of the lab besides packets.
type Facts struct {
	Plan          topology.Plan
	Pods          []Pod
	Services      map[netip.Addr]string     // ClusterIPs and VIPs
	ReplacesKube  bool                      // the CNI handles Services, not kube-proxy
	ServesPods    bool                      // the CNI handles Services for Pods, in addition to kube-proxy
	Encapsulation components.Encapsulation  // of packets between Nodes
	Announcer     string                    // what answers ARP for VIPs
	Listeners     map[netip.AddrPort]string // services of outside hosts
}

// Pod is a Pod with its own address.
type Pod struct {
	Name string
	Node string
	IP   netip.Addr
}

func (f Facts) pod(ip netip.Addr) (Pod, bool) {
	for _, p := range f.Pods {
		if p.IP == ip {
			return p, true
		}
	}
	return Pod{}, false
}

// machine finds the owner of an address, and the NIC that has it.
func (f Facts) machine(ip netip.Addr) (topology.Machine, topology.NIC, bool) {
	for _, m := range f.Plan.Machines {
		for _, nic := range m.NICs {
			if nic.Has(ip) {
				return m, nic, true
			}
		}
	}
	return topology.Machine{}, topology.NIC{}, false
}

// station finds the machine and NIC that a MAC belongs to.
func (f Facts) station(mac string) (topology.Machine, topology.NIC, bool) {
	for _, m := range f.Plan.Machines {
		for _, nic := range m.NICs {
			if strings.EqualFold(nic.MAC, mac) {
				return m, nic, true
			}
		}
	}
	return topology.Machine{}, topology.NIC{}, false
}

// Probe is one repetition of a probe, as its agent reports it.
type Probe struct {
	Place    int // of Places: where it was sent from
	Sockets  []agent.Socket
	Token    string
	ARP      netip.Addr // the address resolved by ARP before; the zero Addr for none
	Answered bool
}

// Captures is everything that was captured while probes ran.
type Captures struct {
	Facts  Facts
	Places []Place

	packets []*packet
	same    map[identity][]*packet
	tokens  map[string][]*packet
	decoder *decoder
}

// Index decodes and sorts what the places captured.
func Index(facts Facts, places []Place) *Captures {
	c := &Captures{Facts: facts, Places: places, same: map[identity][]*packet{}, tokens: map[string][]*packet{}, decoder: newDecoder(facts.Encapsulation)}
	for i, place := range places {
		for _, f := range place.Frames {
			p := c.decoder.decode(i, place.link(f.Link), f)
			if p == nil || p.astray() {
				continue
			}
			c.packets = append(c.packets, p)
			id := c.decoder.identity(p)
			c.same[id] = append(c.same[id], p)
			if token := p.token(); token != "" {
				c.tokens[token] = append(c.tokens[token], p)
			}
		}
	}
	return c
}

// astray reports that a bridge flooded a packet to an interface that is not its destination.
// Ports of a bridge receive packets for others, and so do interfaces without a MAC.
func (p *packet) astray() bool {
	return !p.out && p.link.Master == 0 && len(p.macDst) == 6 && p.macDst[0]&1 == 0 &&
		p.link.MAC != "" && p.link.MAC != "00:00:00:00:00:00" && p.macDst.String() != p.link.MAC
}

// flow is one leg of a conversation: one packet, wherever it was seen.
type flow struct {
	leg     string
	packets []*packet
	note    Change         // of its first hop, in addition to what packets show
	asked   netip.AddrPort // the destination that the sender intended, if known
}

// Evidence returns the evidence of one probe.
func (c *Captures) Evidence(p Probe) Evidence { return c.assemble(p, c.flows(p)) }

// flows finds the packets of a probe.
func (c *Captures) flows(p Probe) []flow {
	var out []flow
	if p.ARP.IsValid() {
		out = append(out, c.resolution(p)...)
	}
	own := map[uint32]bool{} // sequence numbers of the client's own requests
	for _, s := range p.Sockets {
		if first := c.first(p.Place, s); first != nil {
			own[first.seq+1] = true
			flows := c.conversation(first, !p.Answered)
			flows[0].asked, _ = netip.ParseAddrPort(s.Remote)
			out = append(out, flows...)
		}
	}
	for _, x := range c.tokens[p.Token] {
		if own[x.seq] {
			continue
		}
		return append(out, c.forwarded(x, p.Answered)...)
	}
	return out
}

// first is the packet that opened a socket's conversation.
func (c *Captures) first(place int, s agent.Socket) *packet {
	for _, p := range c.packets {
		if p.place == place && p.out && p.src.Port() == s.Port &&
			(s.Protocol == "tcp" && p.is(tcpSYN) || s.Protocol == "udp" && p.protocol == layers.IPProtocolUDP) {
			return p
		}
	}
	return nil
}

// conversation finds the first packet of a conversation, and its answer. Where both arrived
// and the probe failed nevertheless, data is of interest too.
func (c *Captures) conversation(first *packet, data bool) []flow {
	request := flow{leg: Request, packets: c.same[c.decoder.identity(first)]}
	if first.protocol == layers.IPProtocolUDP {
		return []flow{request, c.answers(request)}
	}
	reply := flow{leg: Reply}
	var sent, got flow
	for _, p := range c.packets {
		switch {
		case p.icmp != nil && p.icmp.protocol == layers.IPProtocolTCP && p.icmp.seq == first.seq:
			reply.packets = append(reply.packets, p)
		case p.protocol != layers.IPProtocolTCP:
		case p.ack == first.seq+1 && p.flags&tcpACK != 0 && p.flags&(tcpSYN|tcpRST) != 0:
			reply.packets = append(reply.packets, p)
		case p.seq == first.seq+1 && len(p.payload) > 0 && p.flags&tcpACK != 0:
			sent.packets = append(sent.packets, p)
		}
	}
	out := []flow{request, reply}
	if len(sent.packets) == 0 || !data {
		return out
	}
	sent.leg, got.leg = Request, Reply
	sent.packets = c.same[c.decoder.identity(sent.packets[0])]
	got.packets = c.responseTo(sent.packets[0])
	return append(out, sent, got)
}

// responseTo finds the first data that a TCP peer sent after some data.
func (c *Captures) responseTo(sent *packet) []*packet {
	for _, p := range c.packets {
		if p.protocol == layers.IPProtocolTCP && p.ack == sent.seq+uint32(len(sent.payload)) && p.seq == sent.ack && len(p.payload) > 0 {
			return c.same[c.decoder.identity(p)]
		}
	}
	return nil
}

// answers finds the answers to a datagram: packets in the opposite direction between the
// same ports in a place that the datagram passed, and ICMP errors that quote it.
func (c *Captures) answers(request flow) flow {
	type way struct {
		place    int
		src, dst netip.AddrPort
	}
	back := map[way]bool{}
	for _, p := range request.packets {
		back[way{p.place, p.dst, p.src}] = true
	}
	reply := flow{leg: Reply}
	known := map[identity]bool{}
	for _, p := range c.packets {
		switch {
		case p.icmp != nil && p.icmp.protocol == layers.IPProtocolUDP && back[way{p.place, p.icmp.dst, p.icmp.src}]:
			reply.packets = append(reply.packets, p)
		case p.protocol == layers.IPProtocolUDP && back[way{p.place, p.src, p.dst}]:
			if id := c.decoder.identity(p); !known[id] {
				known[id] = true
				reply.packets = append(reply.packets, c.same[id]...)
			}
		}
	}
	return reply
}

// forwarded finds the connection over which a proxy forwarded the request: a new one, or one
// that it kept open.
func (c *Captures) forwarded(request *packet, answered bool) []flow {
	for _, p := range c.packets {
		if p.is(tcpSYN) && p.seq == request.seq-1 {
			flows := c.conversation(p, !answered)
			flows[0].note = Change{What: "connection opened by " + c.owner(p.src.Addr()), By: "ingress"}
			return flows
		}
	}
	return []flow{
		{leg: Request, packets: c.same[c.decoder.identity(request)],
			note: Change{What: "connection kept open by " + c.owner(request.src.Addr()), By: "ingress"}},
		{leg: Reply, packets: c.responseTo(request)},
	}
}

// resolution finds the ARP exchange for the address that a probe targets.
func (c *Captures) resolution(p Probe) []flow {
	ask, answer := flow{leg: Request}, flow{leg: Reply}
	repliers, sender := map[int]bool{}, ""
	for _, x := range c.packets {
		if x.arp == nil || x.arp.Operation != layers.ARPRequest || addr(x.arp.DstProtAddress) != p.ARP || x.place != p.Place || !x.out {
			continue
		}
		ask.packets, sender = []*packet{x}, string(x.arp.SourceHwAddress)
		break
	}
	for _, x := range c.packets {
		if x.arp == nil || x.arp.Operation != layers.ARPReply || addr(x.arp.SourceProtAddress) != p.ARP || string(x.arp.DstHwAddress) != sender {
			continue
		}
		if x.out || x.place == p.Place {
			answer.packets = append(answer.packets, x)
		}
		repliers[x.place] = repliers[x.place] || x.out
	}
	for _, x := range c.packets {
		if x.arp != nil && x.arp.Operation == layers.ARPRequest && addr(x.arp.DstProtAddress) == p.ARP &&
			string(x.arp.SourceHwAddress) == sender && repliers[x.place] && !x.out {
			ask.packets = append(ask.packets, x)
		}
	}
	return []flow{ask, answer}
}

func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}

// owner is the name of the machine or Pod with an address.
func (c *Captures) owner(ip netip.Addr) string {
	if p, ok := c.Facts.pod(ip); ok {
		return p.Name
	}
	if m, _, ok := c.Facts.machine(ip); ok {
		return m.Name
	}
	if s := c.Facts.Services[ip]; s != "" {
		return s
	}
	return ip.String()
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
