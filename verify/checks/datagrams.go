package checks

import (
	"fmt"
	"slices"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// Paths to Services over UDP. Each has the ends of the path over TCP.
const (
	PodToClusterIPUDP        = PodToClusterIP + "-udp"
	PodToNodePortUDP         = PodToNodePort + "-udp"
	OutsideToNodePortUDP     = OutsideToNodePort + "-udp"
	OutsideToLoadBalancerUDP = OutsideToLoadBalancer + "-udp"
)

// fragmented is a payload in bytes that no path MTU below that of jumbo frames takes whole.
const fragmented = 3000

// datagrams is the entry of a path's ends over UDP. It asserts the same, except the VIP's
// announcement, which does not depend on the protocol.
func datagrams(c Check, more ...Assertion) Check {
	rows := c.Rows
	c.ID, c.Aliases, c.Title = c.ID+"-udp", nil, c.Title+", over UDP"
	c.Rows = func(l Lab) []Row {
		out := rows(l)
		for i := range out {
			out[i].Protocol = agent.UDP
		}
		return out
	}
	c.Asserts = slices.DeleteFunc(slices.Clone(c.Asserts), func(a Assertion) bool { _, is := a.(VIPAnnounced); return is })
	c.Asserts = append(append(c.Asserts, WholeDatagram{Bytes: fragmented}), more...)
	return c
}

// WholeDatagram asserts that a datagram larger than the path MTU arrives whole: its fragments,
// of which only the first has ports, must all be translated to one backend.
type WholeDatagram struct{ Bytes int }

func (x WholeDatagram) String() string {
	return fmt.Sprintf("a datagram of %d bytes arrives whole", x.Bytes)
}

func (x WholeDatagram) Probes(q Query) []Ask {
	return q.also(PartDatagram, agent.Probe{Kind: agent.UDP, Target: q.Target, Size: x.Bytes})
}

func (x WholeDatagram) Judge(_ observe.Snapshot, _ Row, got Answers) []report.Property {
	if got[PartMain].Outcome != agent.Reply {
		return nil
	}
	observed := Said(got[PartDatagram])
	if seen, _ := answersOfAgents(got[PartDatagram]); len(seen) > 0 {
		observed = fmt.Sprintf("%d bytes", seen[0].Bytes)
	}
	return equal(report.KeyDatagram, fmt.Sprintf("datagram of %d bytes", x.Bytes), fmt.Sprintf("%d bytes", x.Bytes), observed)
}

// BothProtocols asserts that a VIP serves TCP and UDP on one port.
type BothProtocols struct{}

func (BothProtocols) String() string { return "the same VIP and port answer over TCP" }

func (BothProtocols) Probes(q Query) []Ask {
	return q.also(PartTCP, agent.Probe{Kind: agent.HTTP, Target: "http://" + q.Target + "/"})
}

func (BothProtocols) Judge(_ observe.Snapshot, _ Row, got Answers) []report.Property {
	if got[PartMain].Outcome != agent.Reply {
		return nil
	}
	return equal(report.KeyProtocols, "TCP on the same VIP", "a reply", Said(got[PartTCP]))
}
