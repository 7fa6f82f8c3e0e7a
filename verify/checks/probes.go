package checks

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Part is the role of a probe in its row.
type Part string

// The parts of a row. Every row has a main probe.
const (
	PartMain    Part = "main"
	PartControl Part = "control" // must be answered, else no reply to main proves nothing
	PartMTU     Part = "mtu"
	PartBind    Part = "bind"
	PartDNS     Part = "dns"
	PartARP     Part = "arp"
	PartRoute   Part = "route" // of a router to a VIP

	PartBalancer Part = "balancer" // of the host outside the cluster that has a VIP

	PartDatagram Part = "datagram" // one that is sent in fragments
	PartTCP      Part = "tcp"      // of a path over UDP

	// The controls of a path of the user's that must be denied: without them no reply proves nothing.
	PartListens Part = "listens" // the destination answers at its own Node
	PartClient  Part = "client"  // the client's Node reaches it
)

// parts are all of them, in the order in which they are judged.
func parts() []Part {
	return []Part{PartMain, PartControl, PartMTU, PartBind, PartDNS, PartARP, PartRoute, PartBalancer, PartDatagram, PartTCP, PartListens, PartClient}
}

// Controls reports whether a probe is a control, which is asked before the main probe is answered
// and once more after it.
func (p Part) Controls() bool { return p == PartControl || p == PartListens || p == PartClient }

// Ask is one probe of a row.
type Ask struct {
	Part  Part
	From  observe.Ref
	Probe agent.Probe
}

// Answers are the results of a row's probes.
type Answers map[Part]agent.Result

// Query is a row with the address of its destination.
type Query struct {
	observe.Snapshot
	Row    Row
	Target string // host:port, or a DNS name
	IP     string // "" of a name
}

// also is another probe from the same client.
func (q Query) also(part Part, probe agent.Probe) []Ask {
	return []Ask{{Part: part, From: q.Row.From, Probe: probe}}
}

// AsksOf returns the probes of a row, the main one first. Its error is observe.Unasked or
// observe.Absent.
func AsksOf(s observe.Snapshot, r Row) ([]Ask, error) {
	if _, err := s.Station(r.From); err != nil {
		return nil, err
	}
	target, ip, err := r.address(s)
	if err != nil {
		return nil, err
	}
	q, c := Query{s, r, target, ip}, r.check()
	main := agent.Probe{Kind: r.Protocol, Target: r.at(target)}
	if c.Request != nil {
		c.Request(q, &main)
	}
	asks := []Ask{{Part: PartMain, From: r.From, Probe: main}}
	for _, a := range c.Asserts {
		if _, silent := a.(silence); silent == (r.Expected == report.Unreachable) {
			asks = append(asks, a.Probes(q)...)
		}
	}
	return asks, nil
}

// PlainAsk is the main probe of a row that could not be probed, as far as it is known.
func PlainAsk(s observe.Snapshot, r Row) Ask {
	target, _, err := r.address(s)
	if err != nil || target == "" {
		target = r.To.Name
	}
	return Ask{Part: PartMain, From: r.From, Probe: agent.Probe{Kind: r.Protocol, Target: r.at(target)}}
}

// portOfScheme is the port of HTTP or HTTPS.
func portOfScheme(protocol string) int {
	if protocol == agent.HTTPS {
		return 443
	}
	return 80
}

// address is where a row's destination listens: for a BGP session and a VIP that hosts share the address
// alone, through a load balancer the port there.
func (r Row) address(s observe.Snapshot) (target, ip string, err error) {
	host, ip := r.Balancer(s)
	if !r.Peer.IsValid() && host == "" {
		return s.Address(r.From, r.To, r.Protocol)
	}
	for _, name := range []string{r.To.Name, host} {
		if s.IsOff(name) {
			return "", "", observe.Absent{Why: s.Away[name]}
		}
	}
	if r.Peer.IsValid() {
		return r.Peer.String(), r.Peer.String(), nil
	}
	return observe.JoinPort(ip, portOfScheme(r.Protocol)), ip, nil
}

// at is what a probe of a row's protocol calls a target: a URL, but for plain TCP, UDP, BGP and ARP.
func (r Row) at(target string) string {
	if slices.Contains([]string{agent.TCP, agent.UDP, agent.BGP, agent.ARP}, r.Protocol) {
		return target
	}
	return r.Protocol + "://" + target + "/"
}

// Request modifies the main probe of a row, which is one plain request.
type Request func(q Query, p *agent.Probe)

// everyEndpoint sends so many requests that a fair choice of endpoints misses none.
func everyEndpoint(q Query, p *agent.Probe) {
	if q.Row.Few {
		twenty(q, p)
		return
	}
	p.Count, p.Parallel = enough(len(q.Services[q.Row.To.Name].Ready)), true
}

// enough is the number of requests with which a fair choice misses none of n endpoints, all
// but certainly (1 in 10⁷ or better): n·(1-1/n)^(n·(ln n + 17)) < e⁻¹⁷.
func enough(n int) int {
	each := max(20, int(math.Ceil(math.Log(float64(max(n, 1)))))+17)
	return max(each*n, 4)
}

// twenty sends twenty requests in parallel.
func twenty(_ Query, p *agent.Probe) { p.Count, p.Parallel = 20, true }

// byName requests an agent by its DNS name.
func byName(q Query, p *agent.Probe) {
	p.Target = fmt.Sprintf("http://%s:%d/", q.Target, agent.PortHTTP)
}

// dnsTimeoutMillis is longer than that of other probes: CoreDNS may have to query an
// upstream server.
const dnsTimeoutMillis = 2000

// shortName looks a Service up by its bare name, which tests the Pod's search list too.
func shortName(q Query, p *agent.Probe) { p.Target, p.TimeoutMillis = q.Row.To.Name, dnsTimeoutMillis }

// fullName looks a name up as it is.
func fullName(q Query, p *agent.Probe) { p.Target, p.TimeoutMillis = q.Target+".", dnsTimeoutMillis }

// virtualHost requests a host and path from the ingress controller.
func virtualHost(q Query, p *agent.Probe) {
	host, path, _ := strings.Cut(q.Row.To.Name, "/")
	p.Host = host
	p.Target += path
}

// targetNode is the Node that a row's destination is on.
func targetNode(q Query) string { return q.Row.To.Node }

// nearestNode is the first Node that a row's client reaches.
func nearestNode(q Query) string {
	n, _ := nodeFor(q.Plan, q.Row.From)
	return n
}

// headers of IPv4 and UDP, in bytes.
const headers = 28

// expectedPayload is the largest UDP payload between Pods of two Nodes: the path MTU from
// one Node to the other, less the CNI's encapsulation, less the headers.
func expectedPayload(s observe.Snapshot, a, b string) int {
	to, _ := netip.ParseAddr(s.MachineIP(b)) // the zero Addr, which is unreachable, where the Node is not in the lab
	return topology.Reach(s.Plan, a, to).MTU - s.Support.Encapsulation.Overhead - headers
}

// ARPFor is an ARP probe for the address that a host's probe goes to; none where the host
// is not on its network.
func ARPFor(s observe.Snapshot, from observe.Ref, ip string) []Ask {
	addr, err := netip.ParseAddr(ip)
	if err != nil || from.Kind != report.AtHost || !topology.Reach(s.Plan, from.Name, addr).OnLink() {
		return nil
	}
	return []Ask{{Part: PartARP, From: from, Probe: agent.Probe{Kind: agent.ARP, Target: ip}}}
}

// Command is the command line that repeats a probe by hand.
func Command(s observe.Snapshot, a Ask) string {
	words := a.Probe.Args()
	name := a.From.Name
	if e, own := s.Ends[a.From]; own && e.Pod.UID != "" || own && e.Why != "" {
		return shell.Join("netlab", "verify", s.Plan.Lab.String(), "--paths", Mine) // no tool need be in their image
	}
	switch a.From.Kind {
	case report.AtHost:
		return shell.Join(append([]string{"netlab", "exec", s.Plan.Lab.String(), name, "--", "netlab"}, words...)...)
	case report.AtNode:
		name = workload.NodeAgent(name)
	}
	p, _ := s.Pods.Pod(name)
	prefix := []string{"netlab", "kubectl", s.Plan.Lab.String(), "--", "exec", "-n", p.Namespace, p.Name, "-c", "agent", "--", workload.AgentPath}
	return shell.Join(append(prefix, words...)...)
}

func secondPortProbe() agent.Probe {
	return agent.Probe{Kind: agent.Bind, Target: strconv.Itoa(workload.SecondPort)}
}
