package trace

import (
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// lab is the quickstart lab with Flannel, on whose interfaces a test puts packets.
type lab struct {
	t      *testing.T
	facts  Facts
	places []Place
	index  map[string]int
	nanos  int64
	ahead  map[string]int64 // of a machine's clock, in ns
}

const token = "abcdefghij.0."

func newLab(t *testing.T) *lab {
	t.Helper()
	data, err := os.ReadFile("../../scenarios/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file, err := labs.Load("quickstart.yaml", data, labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := topology.Build(file)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, index: map[string]int{}, nanos: 1e18, ahead: map[string]int64{}}
	ip := netip.MustParseAddr
	l.facts = Facts{Plan: plan, Encapsulation: components.Encapsulation{Kind: "vxlan", Port: 8472, Overhead: 50}, Announcer: "metallb",
		Services: map[netip.Addr]string{ip("10.96.1.1"): "echo", ip("172.30.0.200"): "echo-lb", ip("172.30.0.201"): "ingress-nginx/ingress-nginx-controller"},
		Pods: []Pod{{"echo-w1", "w1", ip("10.244.1.5")}, {"echo-w2", "w2", ip("10.244.2.6")},
			{"ingress-nginx/controller", "w2", ip("10.244.2.9")}}}
	mac := 0
	link := func(index int, name, kind string, master, peer int, addresses ...string) agent.Link {
		mac++
		return agent.Link{Index: index, Name: name, Kind: kind, Master: master, Peer: peer, Addresses: addresses,
			MAC: net.HardwareAddr{6, 0, 0, 0, 0, byte(mac)}.String()}
	}
	place := func(machine, pod string, links ...agent.Link) {
		l.index[or(pod, machine)] = len(l.places)
		l.places = append(l.places, Place{Machine: machine, Pod: pod, Ready: agent.Ready{Boot: "one", Links: links}})
	}
	for _, m := range plan.Machines {
		var links []agent.Link
		for i, nic := range m.NICs {
			links = append(links, agent.Link{Index: 2 + i, Name: nic.Name, Kind: "veth", MAC: nic.MAC, Peer: 90 + i, Addresses: []string{nic.Address().String()}})
		}
		if m.Kind == topology.KindNode {
			links = append(links, link(10, "cni0", "bridge", 0, 0), link(11, "flannel.1", "vxlan", 0, 0),
				link(12, "vethecho", "veth", 10, 2), link(13, "vethother", "veth", 10, 2))
		}
		place(m.Name, "", links...)
	}
	place("w1", "echo-w1", link(2, "eth0", "veth", 0, 12, "10.244.1.5/24"))
	place("w2", "echo-w2", link(2, "eth0", "veth", 0, 12, "10.244.2.6/24"))
	return l
}

// pkt is one packet; the zero ttl is 64, the zero flags SYN.
type pkt struct {
	src, dst string
	flags    string
	seq, ack uint32
	ttl      uint8
	payload  string
	udp      bool
	outer    string // "w1 w2": encapsulated in VXLAN 1 between them
	to       string // the machine that a frame on a NIC is addressed to
	fragment int    // bytes of payload in each; 0 for none
	icmp     *pkt   // the packet that it reports as unreachable
}

// goes puts a packet on interfaces one after the other, each 10 µs later: "w1 eth0 out".
func (l *lab) goes(p pkt, way ...string) {
	l.t.Helper()
	for _, hop := range way {
		f := strings.Fields(hop)
		i, ok := l.index[f[0]]
		if !ok {
			l.t.Fatalf("no place %s", f[0])
		}
		place := &l.places[i]
		var link agent.Link
		for _, x := range place.Ready.Links {
			if x.Name == f[1] {
				link = x
			}
		}
		if link.Name == "" {
			l.t.Fatalf("no link %s", hop)
		}
		l.nanos += 10_000
		mac, _ := net.ParseMAC(link.MAC)
		if f[2] == "out" && p.to != "" {
			to, _ := l.facts.Plan.Machine(p.to)
			mac, _ = net.ParseMAC(to.NICs[0].MAC)
		}
		for _, data := range l.bytes(p, mac) {
			place.Frames = append(place.Frames, agent.Frame{Nanos: l.nanos + l.ahead[place.Machine], Link: link.Index, Out: f[2] == "out", Length: len(data), Data: data})
		}
	}
}

func (l *lab) bytes(p pkt, mac net.HardwareAddr) [][]byte {
	l.t.Helper()
	inner := l.packet(p)
	if p.outer != "" {
		from, to, _ := strings.Cut(p.outer, " ")
		a, _ := l.facts.Plan.Machine(from)
		b, _ := l.facts.Plan.Machine(to)
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: a.Address().AsSlice(), DstIP: b.Address().AsSlice()}
		udp := &layers.UDP{SrcPort: 40000, DstPort: 8472}
		udp.SetNetworkLayerForChecksum(ip)
		inner = [][]byte{serialize(l.t, ip, udp, &layers.VXLAN{ValidIDFlag: true, VNI: 1},
			&layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4}, gopacket.Payload(inner[0]))}
	}
	var out [][]byte
	for _, data := range inner {
		out = append(out, serialize(l.t, &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4}, gopacket.Payload(data)))
	}
	return out
}

// packet returns the IP packet, or its fragments.
func (l *lab) packet(p pkt) [][]byte {
	src, dst := netip.MustParseAddrPort(p.src), netip.MustParseAddrPort(p.dst)
	ip := &layers.IPv4{Version: 4, TTL: p.ttl, Id: 7, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	if ip.TTL == 0 {
		ip.TTL = 64
	}
	var body []byte
	switch {
	case p.icmp != nil:
		ip.Protocol = layers.IPProtocolICMPv4
		body = serialize(l.t, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort)},
			gopacket.Payload(l.packet(*p.icmp)[0][:28]))
	case p.udp:
		ip.Protocol = layers.IPProtocolUDP
		u := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
		u.SetNetworkLayerForChecksum(ip)
		body = serialize(l.t, u, gopacket.Payload(p.payload))
	default:
		ip.Protocol = layers.IPProtocolTCP
		c := &layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: p.seq, Ack: p.ack, Window: 1000,
			SYN: p.flags == "" || strings.Contains(p.flags, "S"), ACK: strings.Contains(p.flags, "A"), RST: strings.Contains(p.flags, "R")}
		c.SetNetworkLayerForChecksum(ip)
		body = serialize(l.t, c, gopacket.Payload(p.payload))
	}
	if p.fragment == 0 {
		return [][]byte{serialize(l.t, ip, gopacket.Payload(body))}
	}
	var out [][]byte
	for at := 0; at < len(body); at += p.fragment {
		part := *ip
		part.FragOffset = uint16(at / 8)
		if at+p.fragment < len(body) {
			part.Flags = layers.IPv4MoreFragments
		}
		out = append(out, serialize(l.t, &part, gopacket.Payload(body[at:min(at+p.fragment, len(body))])))
	}
	return out
}

// arp puts an ARP request, or its reply if mac is the answering machine's, on interfaces.
func (l *lab) arp(asker, target, owner string, way ...string) {
	l.t.Helper()
	from, _ := l.facts.Plan.Machine(asker)
	own, _ := net.ParseMAC(from.NICs[0].MAC)
	a := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: layers.ARPRequest, SourceHwAddress: own, SourceProtAddress: from.Address().AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: netip.MustParseAddr(target).AsSlice()}
	e := &layers.Ethernet{SrcMAC: own, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP}
	if owner != "" {
		m, _ := l.facts.Plan.Machine(owner)
		mac, _ := net.ParseMAC(m.NICs[0].MAC)
		a.Operation, a.SourceHwAddress, a.SourceProtAddress, a.DstHwAddress, a.DstProtAddress = layers.ARPReply, mac, a.DstProtAddress, own, a.SourceProtAddress
		e.SrcMAC, e.DstMAC = mac, own
	}
	data := serialize(l.t, e, a)
	for _, hop := range way {
		f := strings.Fields(hop)
		place := &l.places[l.index[f[0]]]
		l.nanos += 10_000
		place.Frames = append(place.Frames, agent.Frame{Nanos: l.nanos, Link: 2, Out: f[2] == "out", Length: len(data), Data: data})
	}
}

func serialize(t *testing.T, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), b.Bytes()...)
}

// tcp is the evidence of a probe from port 40000 of a place.
func (l *lab) tcp(from, remote string, answered bool) Evidence {
	return Index(l.facts, l.places).Evidence(l.probe(from, "tcp", remote, answered))
}

func (l *lab) probe(from, protocol, remote string, answered bool) Probe {
	return Probe{Place: l.index[from], Sockets: []agent.Socket{{Protocol: protocol, Port: 40000, Remote: remote}}, Token: token, Answered: answered}
}

func golden(t *testing.T, name string, e Evidence) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	lines := e.Lines(100)
	for _, line := range lines {
		if n := len([]rune(line)); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}
