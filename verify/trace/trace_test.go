package trace

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
)

// crossNode is a handshake between Pods of two Nodes, through the tunnel. Only its first
// until interfaces see it.
func (l *lab) crossNode(until int) {
	type step struct {
		p   pkt
		way string
	}
	syn := pkt{src: "10.244.1.5:40000", dst: "10.244.2.6:8080", seq: 100}
	routed, wrapped, arrived := syn, syn, syn
	routed.ttl, arrived.ttl = 63, 62
	wrapped.ttl, wrapped.outer, wrapped.to = 63, "w1 w2", "w2"
	back := pkt{src: "10.244.2.6:8080", dst: "10.244.1.5:40000", flags: "SA", seq: 500, ack: 101}
	backRouted, backWrapped, backArrived := back, back, back
	backRouted.ttl, backArrived.ttl = 63, 62
	backWrapped.ttl, backWrapped.outer, backWrapped.to = 63, "w2 w1", "w1"
	steps := []step{
		{syn, "echo-w1 eth0 out"}, {syn, "w1 vethecho in"}, {syn, "w1 cni0 in"}, {routed, "w1 flannel.1 out"}, {wrapped, "w1 eth0 out"},
		{wrapped, "w2 eth0 in"}, {routed, "w2 flannel.1 in"}, {arrived, "w2 cni0 out"}, {arrived, "w2 vethecho out"}, {arrived, "echo-w2 eth0 in"},
		{back, "echo-w2 eth0 out"}, {back, "w2 vethecho in"}, {back, "w2 cni0 in"}, {backRouted, "w2 flannel.1 out"}, {backWrapped, "w2 eth0 out"},
		{backWrapped, "w1 eth0 in"}, {backRouted, "w1 flannel.1 in"}, {backArrived, "w1 cni0 out"}, {backArrived, "w1 vethecho out"}, {backArrived, "echo-w1 eth0 in"},
	}
	for _, s := range steps[:min(until, len(steps))] {
		l.goes(s.p, s.way)
	}
}

func TestPodToPodCrossNode(t *testing.T) {
	l := newLab(t)
	l.crossNode(99)
	e := l.tcp("echo-w1", "10.244.2.6:8080", true)
	golden(t, "cross-node", e)
	for _, h := range e.Hops {
		for _, c := range h.Changes {
			if strings.Contains(c.What, "NAT") {
				t.Errorf("%s on the way between Pods: %+v", c.What, h)
			}
		}
	}
	if len(e.Hidden) > 0 || e.Lost != "" {
		t.Errorf("hidden %q, lost %q", e.Hidden, e.Lost)
	}
}

// TestLost: wherever a handshake ends, the hop after the last is named.
func TestLost(t *testing.T) {
	want := []string{
		1:  "left echo-w1 eth0, never reached w1 vethecho",
		2:  "reached w1 vethecho, never left w1 flannel.1",
		3:  "reached w1 cni0, never left w1 flannel.1",
		4:  "left w1 flannel.1, never left w1 eth0",
		5:  "left w1 eth0 as VXLAN, never reached w2 eth0",
		6:  "reached w2 eth0 as VXLAN, never reached w2 flannel.1",
		7:  "reached w2 flannel.1, never reached echo-w2",
		9:  "left w2 vethecho, never reached echo-w2",
		10: "reached echo-w2 eth0, which sent no answer",
		11: "the reply left echo-w2 eth0, never reached w2 vethecho",
		15: "the reply left w2 eth0 as VXLAN, never reached w1 eth0",
		16: "the reply reached w1 eth0 as VXLAN, never reached w1 flannel.1",
	}
	for until, lost := range want {
		if lost == "" {
			continue
		}
		l := newLab(t)
		l.crossNode(until)
		if got := l.tcp("echo-w1", "10.244.2.6:8080", false).Lost; got != lost {
			t.Errorf("after %d hops: %q, want %q", until, got, lost)
		}
	}
	l := newLab(t)
	if got := l.tcp("echo-w1", "10.244.2.6:8080", false).Lost; got != "echo-w1 sent nothing" {
		t.Errorf("without any packet: %q", got)
	}
	l.arp("client", "172.30.0.200", "", "client eth0 out", "w1 eth0 in")
	if got, want := l.tcp("client", "172.30.0.200:80", false).Lost, "client asks on eth0 who has 172.30.0.200, no ARP reply"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRefused: a refusal is an answer, not a loss.
func TestRefused(t *testing.T) {
	l := newLab(t)
	l.goes(pkt{src: "10.244.1.5:40000", dst: "172.30.0.11:9", seq: 100}, "echo-w1 eth0 out", "w1 vethecho in", "w1 cni0 in")
	l.goes(pkt{src: "172.30.0.11:9", dst: "10.244.1.5:40000", flags: "RA", ack: 101}, "w1 cni0 out", "w1 vethecho out", "echo-w1 eth0 in")
	if got, want := l.tcp("echo-w1", "172.30.0.11:9", false).Lost, "w1 refused the connection"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestReplyLost: a reply has returned only where its request began: not in the tunnel of a
// Node that is the client, and not at the address that a Pod's was translated to.
func TestReplyLost(t *testing.T) {
	l := newLab(t)
	l.goes(pkt{src: "10.244.1.0:40000", dst: "10.244.2.6:8080", seq: 100}, "w1 flannel.1 out")
	l.goes(pkt{src: "10.244.1.0:40000", dst: "10.244.2.6:8080", seq: 100, outer: "w1 w2", to: "w2"}, "w1 eth0 out", "w2 eth0 in")
	l.goes(pkt{src: "10.244.2.6:8080", dst: "10.244.1.0:40000", flags: "SA", seq: 500, ack: 101, outer: "w2 w1", to: "w1"}, "w2 eth0 out", "w1 eth0 in")
	if got, want := l.tcp("w1", "10.244.2.6:8080", false).Lost, "the reply reached w1 eth0 as VXLAN, never reached w1 flannel.1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	l.goes(pkt{src: "10.244.2.6:8080", dst: "10.244.1.0:40000", flags: "SA", seq: 500, ack: 101}, "w1 flannel.1 in")
	if got := l.tcp("w1", "10.244.2.6:8080", false).Lost; got != "" {
		t.Errorf("%q, though the reply returned", got)
	}

	l = newLab(t)
	l.goes(pkt{src: "10.244.1.5:40000", dst: "172.30.0.12:8080", seq: 100}, "echo-w1 eth0 out", "w1 vethecho in", "w1 cni0 in")
	l.goes(pkt{src: "172.30.0.11:40000", dst: "172.30.0.12:8080", seq: 100, to: "w2"}, "w1 eth0 out", "w2 eth0 in")
	l.goes(pkt{src: "172.30.0.12:8080", dst: "172.30.0.11:40000", flags: "SA", seq: 500, ack: 101, to: "w1"}, "w2 eth0 out", "w1 eth0 in")
	if got, want := l.tcp("echo-w1", "172.30.0.12:8080", false).Lost, "the reply reached w1 eth0, and went no further in w1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestDataLost: the handshake passes, and larger packets do not.
func TestDataLost(t *testing.T) {
	l := newLab(t)
	l.crossNode(99)
	l.goes(pkt{src: "10.244.1.5:40000", dst: "10.244.2.6:8080", flags: "A", seq: 101, ack: 501, payload: "GET / HTTP/1.1\r\n"}, "echo-w1 eth0 out", "w1 vethecho in")
	l.arp("client", "172.30.0.200", "", "client eth0 out", "w1 eth0 in")
	e := l.tcp("echo-w1", "10.244.2.6:8080", false)
	if want := "its data reached w1 vethecho, never left w1 flannel.1"; e.Lost != want {
		t.Errorf("%q, want %q", e.Lost, want)
	}
	for _, h := range e.Hops {
		if !strings.HasPrefix(h.Packet, "TCP") {
			t.Errorf("a hop of another machine: %+v", h)
		}
	}
}

func TestPodToClusterIP(t *testing.T) {
	l := newLab(t)
	syn := pkt{src: "10.244.1.5:40000", dst: "10.96.1.1:80", seq: 100}
	l.goes(syn, "echo-w1 eth0 out", "w1 vethecho in", "w1 cni0 in")
	syn.dst, syn.ttl = "10.244.2.6:8080", 63
	l.goes(syn, "w1 flannel.1 out")
	back := pkt{src: "10.244.2.6:8080", dst: "10.244.1.5:40000", flags: "SA", seq: 500, ack: 101, ttl: 63}
	l.goes(back, "w1 flannel.1 in")
	back.src, back.ttl = "10.96.1.1:80", 62
	l.goes(back, "w1 cni0 out", "w1 vethecho out", "echo-w1 eth0 in")
	golden(t, "clusterip", l.tcp("echo-w1", "10.96.1.1:80", true))

	l.facts.ReplacesKube = true
	e := l.tcp("echo-w1", "10.96.1.1:80", true)
	if i := slices.IndexFunc(e.Hops, func(h Hop) bool { return len(h.Changes) > 0 }); e.Hops[i].Changes[0] != (Change{"DNAT 10.96.1.1:80 → 10.244.2.6:8080", "CNI"}) {
		t.Errorf("without kube-proxy: %+v", e.Hops[i].Changes)
	}
}

// A CNI that handles Services for Pods is named; for outside hosts kube-proxy is.
func TestServesPods(t *testing.T) {
	for _, c := range []struct {
		src  string
		want string
	}{{"10.244.1.5:40000", "CNI"}, {"172.30.0.100:40000", "kube-proxy"}} {
		l := newLab(t)
		l.facts.ServesPods = true
		l.goes(pkt{src: c.src, dst: "10.96.1.1:80", seq: 100}, "w1 eth0 in")
		l.goes(pkt{src: c.src, dst: "10.244.2.6:8080", seq: 100, ttl: 63}, "w1 flannel.1 out")
		captures := Index(l.facts, l.places)
		hops := captures.ordered([]flow{{leg: Request, packets: captures.packets}}, map[string]int64{})[0].hops
		got := captures.changes(&hops[0], &hops[1], Request, translations{})
		if len(got) == 0 || got[0].By != c.want {
			t.Errorf("%s → Service: %+v, want by %s", c.src, got, c.want)
		}
	}
}

func TestPodToOutside(t *testing.T) {
	l := newLab(t)
	syn := pkt{src: "10.244.1.5:40000", dst: "203.0.113.100:8080", seq: 100}
	l.goes(syn, "echo-w1 eth0 out", "w1 vethecho in", "w1 cni0 in")
	syn.src, syn.ttl, syn.to = "172.30.0.11:40000", 63, "router"
	l.goes(syn, "w1 eth0 out", "router eth0 in")
	syn.ttl, syn.to = 62, "internet"
	l.goes(syn, "router eth1 out", "internet eth0 in")
	back := pkt{src: "203.0.113.100:8080", dst: "172.30.0.11:40000", flags: "SA", seq: 500, ack: 101, to: "router"}
	l.goes(back, "internet eth0 out", "router eth1 in")
	back.ttl, back.to = 63, "w1"
	l.goes(back, "router eth0 out", "w1 eth0 in")
	back.dst, back.ttl = "10.244.1.5:40000", 62
	l.goes(back, "w1 cni0 out", "w1 vethecho out", "echo-w1 eth0 in")
	golden(t, "outside", l.tcp("echo-w1", "203.0.113.100:8080", true))
}

// toLoadBalancer is a client's handshake with a VIP that w1 announces, answered on w2.
func (l *lab) toLoadBalancer(vip, pod string) {
	l.arp("client", vip, "", "client eth0 out", "w1 eth0 in", "w2 eth0 in")
	l.arp("client", vip, "w1", "w1 eth0 out", "client eth0 in")
	syn := pkt{src: "172.30.0.100:40000", dst: vip + ":80", seq: 100, to: "w1"}
	l.goes(syn, "client eth0 out", "w1 eth0 in")
	syn.src, syn.dst, syn.ttl = "10.244.1.0:21000", pod, 63
	l.goes(syn, "w1 flannel.1 out")
	syn.outer, syn.to = "w1 w2", "w2"
	l.goes(syn, "w1 eth0 out", "w2 eth0 in")
	syn.outer, syn.ttl = "", 62
	l.goes(syn, "w2 flannel.1 in", "w2 cni0 out", "w2 vethother out")
	back := pkt{src: pod, dst: "10.244.1.0:21000", flags: "SA", seq: 500, ack: 101}
	l.goes(back, "w2 vethother in", "w2 cni0 in")
	back.ttl, back.outer, back.to = 63, "w2 w1", "w1"
	l.goes(back, "w2 eth0 out", "w1 eth0 in")
	back = pkt{src: vip + ":80", dst: "172.30.0.100:40000", flags: "SA", seq: 500, ack: 101, ttl: 62, to: "client"}
	l.goes(back, "w1 eth0 out", "client eth0 in")
}

func TestOutsideToLoadBalancer(t *testing.T) {
	l := newLab(t)
	l.toLoadBalancer("172.30.0.200", "10.244.2.7:8080")
	p := l.probe("client", "tcp", "172.30.0.200:80", true)
	p.ARP = netip.MustParseAddr("172.30.0.200")
	golden(t, "loadbalancer", Index(l.facts, l.places).Evidence(p))

	// No Node has the VIP any more, and the client's ARP cache still has the last one.
	l = newLab(t)
	l.arp("client", "172.30.0.200", "", "client eth0 out")
	l.goes(pkt{src: "172.30.0.100:40000", dst: "172.30.0.200:80", seq: 100, to: "w1"}, "client eth0 out", "w1 eth0 in")
	if got, want := Index(l.facts, l.places).Evidence(p).Lost, "client asks on eth0 who has 172.30.0.200, no ARP reply"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestIngress: the second connection is found by the token, whether it is new or was kept
// open; the client's connection may be encrypted.
func TestIngress(t *testing.T) {
	for name, opened := range map[string]bool{"ingress": true, "ingress-kept": false} {
		l := newLab(t)
		l.toLoadBalancer("172.30.0.201", "10.244.2.9:80")
		syn := pkt{src: "10.244.2.9:50000", dst: "10.244.2.6:8080", seq: 9000}
		back := pkt{src: "10.244.2.6:8080", dst: "10.244.2.9:50000", flags: "SA", seq: 7000, ack: 9001}
		there, here := []string{"w2 vethother in", "w2 cni0 in", "w2 vethecho out", "echo-w2 eth0 in"}, []string{"echo-w2 eth0 out", "w2 vethecho in", "w2 vethother out"}
		if opened {
			l.goes(syn, there...)
			l.goes(back, here...)
		}
		request := pkt{src: syn.src, dst: syn.dst, flags: "A", seq: 9001, ack: 7001, payload: "GET /one HTTP/1.1\r\nHost: a\r\nUser-Agent: netlab-trace/" + token + "\r\n\r\n"}
		l.goes(request, there...)
		l.goes(pkt{src: back.src, dst: back.dst, flags: "A", seq: 7001, ack: 9001 + uint32(len(request.payload)), payload: "HTTP/1.1 200 OK\r\n\r\n"}, here...)
		golden(t, name, l.tcp("client", "172.30.0.201:80", true))
	}
}

// TestHiddenInto: a packet that a program passes to a Pod without a capture is known from its
// answer.
func TestHiddenInto(t *testing.T) {
	l := newLab(t)
	l.facts.ReplacesKube = true
	l.goes(pkt{src: "172.30.0.100:40000", dst: "172.30.0.201:80", seq: 100, to: "w2"}, "client eth0 out", "w2 eth0 in")
	l.goes(pkt{src: "10.244.2.9:80", dst: "172.30.0.100:40000", flags: "SA", seq: 500, ack: 101}, "w2 vethother in")
	l.goes(pkt{src: "172.30.0.201:80", dst: "172.30.0.100:40000", flags: "SA", seq: 500, ack: 101, ttl: 63, to: "client"}, "w2 eth0 out", "client eth0 in")
	e := l.tcp("client", "172.30.0.201:80", true)
	if want := []string{"w2 vethother on the way into ingress-nginx/controller: not visible here"}; !slices.Equal(e.Hidden, want) {
		t.Errorf("hidden: %q", e.Hidden)
	}
	undone := slices.IndexFunc(e.Hops, func(h Hop) bool { return len(h.Changes) > 0 })
	if undone < 0 || e.Hops[undone].Changes[0] != (Change{"DNAT undone 10.244.2.9:80 → 172.30.0.201:80", "CNI"}) {
		t.Errorf("%+v", e.Hops)
	}
}

// TestHidden: a packet that eBPF redirects past an interface is reported as hidden, and no hop
// is invented.
func TestHidden(t *testing.T) {
	l := newLab(t)
	l.goes(pkt{src: "10.244.1.5:40000", dst: "10.244.2.6:8080", seq: 100}, "echo-w1 eth0 out", "w1 vethecho in", "echo-w2 eth0 in")
	e := l.tcp("echo-w1", "10.96.1.1:80", true)
	want := []string{"w2 vethecho on the way into echo-w2: not visible here", "DNAT 10.96.1.1:80 → 10.244.2.6:8080 at the socket of echo-w1: not visible here"}
	if len(e.Hops) != 3 || !slices.Equal(e.Hidden, want) {
		t.Errorf("%d hops, hidden %q, want %q", len(e.Hops), e.Hidden, want)
	}
	l.places[0].End.Missed = 3
	l.places[1].Err = "no agent"
	if got := l.tcp("echo-w1", "10.244.2.6:8080", true).Hidden; !slices.Contains(got, "the capture at cp missed 3 frames") || !slices.Contains(got, "nothing was captured at w1: no agent") {
		t.Errorf("what the captures missed is not reported: %q", got)
	}
}

// TestDatagram: a UDP answer is found by its ports, an ICMP error by the packet it quotes.
func TestDatagram(t *testing.T) {
	l := newLab(t)
	ask := pkt{src: "10.244.1.5:40000", dst: "10.96.1.1:53", udp: true, payload: "question"}
	l.goes(ask, "echo-w1 eth0 out", "w1 vethecho in")
	ask.dst = "10.244.2.6:53"
	l.goes(ask, "w1 flannel.1 out", "w2 flannel.1 in", "echo-w2 eth0 in")
	said := Index(l.facts, l.places)
	p := l.probe("echo-w1", "udp", "10.96.1.1:53", false)
	if got, want := said.Evidence(p).Lost, "reached echo-w2 eth0, which sent no answer"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	l.goes(pkt{src: "10.244.2.6:0", dst: "10.244.1.5:0", icmp: &ask}, "echo-w2 eth0 out", "w2 flannel.1 out", "w1 flannel.1 in")
	if got, want := Index(l.facts, l.places).Evidence(p).Lost, "echo-w2 answered ICMP port unreachable"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	l = newLab(t)
	l.goes(ask, "echo-w1 eth0 out", "echo-w2 eth0 in")
	l.goes(pkt{src: "10.244.2.6:53", dst: "10.244.1.5:40000", udp: true, payload: "answer"}, "echo-w2 eth0 out", "w2 vethecho in", "echo-w1 eth0 in")
	p.Answered = true
	l.facts.Listeners = map[netip.AddrPort]string{netip.MustParseAddrPort("10.244.2.6:53"): "outside DNS"}
	e := Index(l.facts, l.places).Evidence(p)
	if legs := legsOf(e); legs != "request request reply reply reply" {
		t.Error(legs)
	}
	for i, h := range e.Hops {
		if received := slices.Contains(h.Changes, Change{"received", "outside DNS"}); received != (i == 1) {
			t.Errorf("hop %d, %s: received by the service: %t", i, h.Interface, received)
		}
	}
}

func legsOf(e Evidence) string {
	var out []string
	for _, h := range e.Hops {
		out = append(out, h.Leg)
	}
	return strings.Join(out, " ")
}

func TestFragments(t *testing.T) {
	l := newLab(t)
	ask := pkt{src: "10.244.1.5:40000", dst: "10.244.2.6:8082", udp: true, payload: strings.Repeat("x", 2000)}
	l.goes(ask, "echo-w1 eth0 out")
	ask.fragment = 1400
	l.goes(ask, "w1 eth0 out", "w2 eth0 in")
	ask.fragment = 0
	l.goes(ask, "echo-w2 eth0 in")
	e := Index(l.facts, l.places).Evidence(l.probe("echo-w1", "udp", "10.244.2.6:8082", true))
	if len(e.Hops) != 4 || e.Hops[1].Changes[0].What != "fragmented into 2" || e.Hops[3].Changes[0].What != "reassembled from 2 fragments" {
		t.Errorf("%+v", e.Hops)
	}
}

// TestClocks: machines with separate kernels have separate clocks.
func TestClocks(t *testing.T) {
	plain, skewed := newLab(t), newLab(t)
	for i, p := range skewed.places {
		if p.Machine == "w2" {
			skewed.places[i].Ready.Boot = "two"
		}
	}
	skewed.ahead["w2"] = -5e9
	plain.crossNode(99)
	skewed.crossNode(99)
	a, b := plain.tcp("echo-w1", "10.244.2.6:8080", true), skewed.tcp("echo-w1", "10.244.2.6:8080", true)
	if !slices.Equal(a.Lines(100), b.Lines(100)) {
		t.Errorf("a clock 5 s late makes it\n%s", strings.Join(b.Lines(100), "\n"))
	}
}

// TestUnevenClocks: an emulated machine's clock may run slower or faster than the others', but
// no packet arrives before it left.
func TestUnevenClocks(t *testing.T) {
	way := func(e Evidence) (out []string) {
		for i, h := range e.Hops {
			out = append(out, strings.Join([]string{h.Leg, h.Machine, h.Pod, h.Interface, h.Direction, h.Packet, fmt.Sprint(h.Outer != nil, h.Changes)}, " "))
			if i > 0 && h.Micros < e.Hops[i-1].Micros {
				t.Errorf("time goes back at %+v", h)
			}
		}
		return out
	}
	plain := newLab(t)
	plain.crossNode(99)
	want := way(plain.tcp("echo-w1", "10.244.2.6:8080", true))
	for _, rate := range []float64{0.02, 0.5, 3, 40} {
		for _, machine := range []string{"w1", "w2"} {
			uneven := newLab(t)
			uneven.crossNode(99)
			for i := range uneven.places {
				p := &uneven.places[i]
				if p.Machine != machine {
					continue
				}
				p.Ready.Boot = "two"
				for j := range p.Frames {
					p.Frames[j].Nanos = 7e9 + int64(float64(p.Frames[j].Nanos-1e18)*rate)
				}
			}
			if got := way(uneven.tcp("echo-w1", "10.244.2.6:8080", true)); !slices.Equal(got, want) {
				t.Errorf("with a clock of %s that runs %g times as fast it is\n%s\nand not\n%s", machine, rate, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// TestStrangers: another connection with other sequence numbers, a retransmission, and packets
// that a bridge floods to other machines are not hops.
func TestStrangers(t *testing.T) {
	l := newLab(t)
	l.crossNode(99)
	before := len(l.tcp("echo-w1", "10.244.2.6:8080", true).Hops)
	l.goes(pkt{src: "10.244.1.5:40001", dst: "10.244.2.6:8080", seq: 101}, "echo-w1 eth0 out", "w1 vethecho in")
	l.crossNode(3)
	flooded := pkt{src: "10.244.1.5:40000", dst: "10.244.2.6:8080", seq: 100, to: "w2"}
	l.goes(flooded, "cp eth0 out")
	stray := &l.places[l.index["cp"]].Frames[0]
	stray.Out = false
	if after := len(l.tcp("echo-w1", "10.244.2.6:8080", true).Hops); after != before {
		t.Errorf("%d hops, %d without the strangers", after, before)
	}
}

// TestPcap: the file has the packets of the whole conversation, each on its interface.
func TestPcap(t *testing.T) {
	l := newLab(t)
	l.crossNode(99)
	l.goes(pkt{src: "10.244.1.5:40000", dst: "10.244.2.6:8080", flags: "A", seq: 101, ack: 501, payload: "GET"}, "echo-w1 eth0 out")
	l.goes(pkt{src: "10.244.1.5:41111", dst: "10.244.2.6:8080", seq: 1}, "echo-w1 eth0 out")
	c := Index(l.facts, l.places)
	var file bytes.Buffer
	if err := c.WritePcap(&file, l.probe("echo-w1", "tcp", "10.244.2.6:8080", true)); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&file, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	packets, last := 0, int64(0)
	for {
		_, info, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packets++
		if now := info.Timestamp.UnixNano(); now < last {
			t.Error("packets are not in the order of time")
		} else {
			last = now
		}
	}
	if packets != 21 || last != l.nanos-10_000 {
		t.Errorf("%d packets, the last at %d; want 21, %d", packets, last, l.nanos-10_000)
	}
	var names []string
	for i := range r.NInterfaces() {
		in, _ := r.Interface(i)
		names = append(names, in.Name)
	}
	want := "echo-w1/eth0 w1/vethecho w1/cni0 w1/flannel.1 w1/eth0 w2/eth0 w2/flannel.1 w2/cni0 w2/vethecho echo-w2/eth0"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("interfaces %q, want %q", got, want)
	}
	file.Reset()
	if err := c.WritePcap(&file, Probe{Place: 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := pcapgo.NewNgReader(&file, pcapgo.NgReaderOptions{}); err != nil {
		t.Errorf("a file without packets: %v", err)
	}
}

// TestEncapsulationsOfTheCatalog: the encapsulations of the catalogue's CNIs can be decoded, on
// the CNI's port.
func TestEncapsulationsOfTheCatalog(t *testing.T) {
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	decoded := 0
	for cni := range catalog.Known().CNIs {
		plan := topology.Plan{Kubernetes: topology.Kubernetes{Proxy: "nftables"}}
		plan.CNI.Name = cni
		set, err := catalog.Resolve(plan)
		if err != nil {
			t.Fatal(err)
		}
		e := set.Support(components.Artifacts{}).Encapsulation
		if e.Kind == "" {
			continue
		}
		decoded++
		if tunnel := tunnelOf(e); tunnel.inner == nil || tunnel.port == 0 || e.Overhead == 0 {
			t.Errorf("%s: %+v", cni, e)
		}
	}
	if decoded == 0 {
		t.Error("no CNI encapsulates")
	}
	if tunnelOf(components.Encapsulation{}).inner != nil {
		t.Error("no encapsulation is looked into")
	}
}
