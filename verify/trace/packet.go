package trace

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"regexp"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/agent"
)

// The TCP flags that distinguish its packets. Routers may set the others.
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	_
	tcpACK
)

// packet is one IPv4 or ARP packet on one interface.
type packet struct {
	place  int // index of a Place
	link   agent.Link
	out    bool
	nanos  int64
	frames []agent.Frame // more than one: its fragments

	macDst, macSrc net.HardwareAddr // outermost; nil on links without
	outer          *Outer
	src, dst       netip.AddrPort // innermost; ports are 0 where the protocol has none
	ttl, bytes     int
	protocol       layers.IPProtocol // 0: ARP
	flags          uint8             // TCP
	seq, ack       uint32            // TCP
	payload        []byte
	icmp           *icmpError
	arp            *layers.ARP
}

// icmpError is an ICMP message about another packet, as far as it quotes that.
type icmpError struct {
	what     string
	src, dst netip.AddrPort
	protocol layers.IPProtocol
	seq      uint32
}

// identity is the part of a packet that NAT and encapsulation do not change.
type identity struct {
	protocol layers.IPProtocol
	flags    uint8
	seq, ack uint32
	size     int
	sum      uint64
}

func (p *packet) is(flags uint8) bool { return p.protocol == layers.IPProtocolTCP && p.flags == flags }

// point is where a packet was seen: fragments are reassembled per point.
type point struct {
	place, link int
	out, inner  bool
}

// decoder decodes frames into packets.
type decoder struct {
	tunnel  tunnel
	seed    maphash.Seed
	defrag  map[point]*ip4defrag.IPv4Defragmenter
	waiting map[fragment]*packet
}

type fragment struct {
	point
	src, dst string
	id       uint16
}

func newDecoder(e components.Encapsulation) *decoder {
	return &decoder{tunnel: tunnelOf(e), seed: maphash.MakeSeed(), defrag: map[point]*ip4defrag.IPv4Defragmenter{}, waiting: map[fragment]*packet{}}
}

func (d *decoder) identity(p *packet) identity {
	id := identity{protocol: p.protocol, flags: p.flags, seq: p.seq, ack: p.ack, size: len(p.payload)}
	if p.protocol == layers.IPProtocolUDP {
		id.sum = maphash.Bytes(d.seed, p.payload)
	}
	return id
}

// decode returns nil for a packet of another protocol, and for a fragment until the last one
// arrived.
func (d *decoder) decode(place int, link agent.Link, f agent.Frame) *packet {
	p := &packet{place: place, link: link, out: f.Out, nanos: f.Nanos, frames: []agent.Frame{f}}
	at := point{place: place, link: link.Index, out: f.Out}
	if f.Raw {
		return d.ip(p, at, f.Data)
	}
	return d.ethernet(p, at, f.Data)
}

func (d *decoder) ethernet(p *packet, at point, data []byte) *packet {
	var e layers.Ethernet
	if e.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		return nil
	}
	if !at.inner {
		p.macDst, p.macSrc = e.DstMAC, e.SrcMAC
	}
	switch e.EthernetType {
	case layers.EthernetTypeIPv4:
		return d.ip(p, at, e.Payload)
	case layers.EthernetTypeARP:
		var a layers.ARP
		if at.inner || a.DecodeFromBytes(e.Payload, gopacket.NilDecodeFeedback) != nil || a.ProtAddressSize != 4 {
			return nil
		}
		p.arp, p.bytes = &a, len(e.Payload)
		return p
	}
	return nil
}

func (d *decoder) ip(p *packet, at point, data []byte) *packet {
	var ip layers.IPv4
	if ip.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		return nil
	}
	if !at.inner {
		p.bytes = int(ip.Length)
	}
	if ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0 {
		whole := d.whole(p, at, &ip)
		if whole == nil {
			return nil
		}
		ip = *whole
	}
	src, _ := netip.AddrFromSlice(ip.SrcIP)
	dst, _ := netip.AddrFromSlice(ip.DstIP)
	p.src, p.dst = netip.AddrPortFrom(src.Unmap(), 0), netip.AddrPortFrom(dst.Unmap(), 0)
	p.ttl, p.protocol = int(ip.TTL), ip.Protocol
	switch ip.Protocol {
	case layers.IPProtocolTCP:
		var t layers.TCP
		if t.DecodeFromBytes(ip.Payload, gopacket.NilDecodeFeedback) != nil {
			return nil
		}
		p.ports(uint16(t.SrcPort), uint16(t.DstPort))
		p.seq, p.ack, p.payload = t.Seq, t.Ack, t.Payload
		for flag, set := range map[uint8]bool{tcpFIN: t.FIN, tcpSYN: t.SYN, tcpRST: t.RST, tcpACK: t.ACK} {
			if set {
				p.flags |= flag
			}
		}
	case layers.IPProtocolUDP:
		var u layers.UDP
		if u.DecodeFromBytes(ip.Payload, gopacket.NilDecodeFeedback) != nil {
			return nil
		}
		if d.tunnel.inner != nil && int(u.DstPort) == d.tunnel.port && !at.inner {
			return d.tunnel.inner(d, p, at, u.Payload)
		}
		p.ports(uint16(u.SrcPort), uint16(u.DstPort))
		p.payload = u.Payload
	case layers.IPProtocolICMPv4:
		var m layers.ICMPv4
		if m.DecodeFromBytes(ip.Payload, gopacket.NilDecodeFeedback) != nil {
			return nil
		}
		p.icmp = quotation(&m)
	}
	return p
}

func (p *packet) ports(src, dst uint16) {
	p.src, p.dst = netip.AddrPortFrom(p.src.Addr(), src), netip.AddrPortFrom(p.dst.Addr(), dst)
}

// whole reassembles fragments; nil until the last one arrived. The packet then has the time
// of its first fragment.
func (d *decoder) whole(p *packet, at point, ip *layers.IPv4) *layers.IPv4 {
	key := fragment{at, ip.SrcIP.String(), ip.DstIP.String(), ip.Id}
	if first := d.waiting[key]; first != nil {
		p.frames = append(first.frames, p.frames...)
		p.nanos = first.nanos
	}
	d.waiting[key] = p
	if d.defrag[at] == nil {
		d.defrag[at] = ip4defrag.NewIPv4Defragmenter()
	}
	whole, err := d.defrag[at].DefragIPv4(ip)
	if err != nil || whole == nil {
		return nil
	}
	delete(d.waiting, key)
	return whole
}

func quotation(m *layers.ICMPv4) *icmpError {
	switch m.TypeCode.Type() {
	case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeRedirect, layers.ICMPv4TypeParameterProblem:
	default:
		return nil
	}
	var ip layers.IPv4
	if ip.DecodeFromBytes(m.Payload, gopacket.NilDecodeFeedback) != nil || len(ip.Payload) < 8 {
		return nil
	}
	port := func(at int) uint16 { return uint16(ip.Payload[at])<<8 | uint16(ip.Payload[at+1]) }
	addr := func(a net.IP, port uint16) netip.AddrPort {
		b, _ := netip.AddrFromSlice(a)
		return netip.AddrPortFrom(b.Unmap(), port)
	}
	q := &icmpError{what: icmpText(m.TypeCode), protocol: ip.Protocol, src: addr(ip.SrcIP, port(0)), dst: addr(ip.DstIP, port(2))}
	if ip.Protocol == layers.IPProtocolTCP {
		q.seq = uint32(port(4))<<16 | uint32(port(6))
	}
	return q
}

// icmpText is the name of an ICMP error, RFC 792 and 1812.
func icmpText(c layers.ICMPv4TypeCode) string {
	switch c.Type() {
	case layers.ICMPv4TypeTimeExceeded:
		return "ICMP time exceeded"
	case layers.ICMPv4TypeRedirect:
		return "ICMP redirect"
	case layers.ICMPv4TypeDestinationUnreachable:
		switch c.Code() {
		case layers.ICMPv4CodeNet:
			return "ICMP network unreachable"
		case layers.ICMPv4CodeHost:
			return "ICMP host unreachable"
		case layers.ICMPv4CodePort:
			return "ICMP port unreachable"
		case layers.ICMPv4CodeFragmentationNeeded:
			return "ICMP fragmentation needed"
		case layers.ICMPv4CodeNetAdminProhibited, layers.ICMPv4CodeHostAdminProhibited, layers.ICMPv4CodeCommAdminProhibited:
			return "ICMP prohibited"
		}
	}
	return fmt.Sprintf("ICMP %s", c)
}

// name is a short description of the packet.
func (p *packet) name() string {
	switch {
	case p.arp != nil && p.arp.Operation == layers.ARPRequest:
		return "ARP who has"
	case p.arp != nil:
		return "ARP is at"
	case p.icmp != nil:
		return p.icmp.what
	case p.protocol == layers.IPProtocolUDP:
		return "UDP"
	case p.protocol != layers.IPProtocolTCP:
		return p.protocol.String()
	case p.flags&tcpRST != 0:
		return "TCP RST"
	case p.is(tcpSYN):
		return "TCP SYN"
	case p.is(tcpSYN | tcpACK):
		return "TCP SYN-ACK"
	case len(p.payload) > 0:
		return "TCP data"
	case p.flags&tcpFIN != 0:
		return "TCP FIN"
	}
	return "TCP ACK"
}

var mark = regexp.MustCompile(regexp.QuoteMeta(agent.Mark("")) + `[0-9A-Za-z]+\.[0-9]+\.`)

// token returns the token of a traced probe that a packet carries.
func (p *packet) token() string {
	if p.protocol != layers.IPProtocolTCP || len(p.payload) == 0 {
		return ""
	}
	return string(bytes.TrimPrefix(mark.Find(p.payload), []byte(agent.Mark(""))))
}
