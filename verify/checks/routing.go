package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths of routers with routing.
const (
	BGPSession  = "bgp-session"
	RouterToVIP = "router-to-vip"

	sectionRouting = "Routing"
)

func routing() []Check {
	return []Check{
		{
			ID: BGPSession, Section: sectionRouting, Title: "router → router or Node: BGP session, as the router has it",
			Rows:     sessionRows,
			Request:  func(_ Query, p *agent.Probe) { p.TimeoutMillis = vtyshMillis },
			Asserts:  []Assertion{Established{}, Prefixes{}, Watched{}},
			Suspects: []Suspect{announcerOfNode},
		},
		{
			ID: RouterToVIP, Section: sectionRouting, Title: "router → VIP that Nodes announce to routers",
			Rows:     vipRows,
			Request:  everyHop,
			Asserts:  []Assertion{Backends{}, NextHops{}, Spread{}},
			Suspects: []Suspect{vipAnnouncer, serviceUnmet, wrongHops, lostPackets, kubeProxyOfClient},
		},
	}
}

// vtyshMillis bounds a question to FRR, which starts a program.
const vtyshMillis = 5000

// sessionRows are the sessions of every router.
func sessionRows(l Lab) []Row {
	var out []Row
	for _, m := range l.Plan.WithRole(topology.RoleRouter) {
		if m.Routing == nil {
			continue
		}
		for _, s := range m.Routing.Sessions {
			peer, _ := l.Plan.Machine(s.Peer)
			to := observe.AtHost(peer)
			if s.Node {
				to = observe.AtNode(peer)
			}
			r := reach(observe.AtHost(m), to).over(agent.BGP)
			r.Peer = s.Remote
			out = append(out, r)
		}
	}
	if out == nil {
		return []Row{skip("router", "router or Node", "no router of the lab has BGP sessions")[0].over(agent.BGP)}
	}
	return out
}

// vipRows are the VIPs of the test Services from every router with routing.
func vipRows(l Lab) []Row {
	if l.Plan.LoadBalancer.BGP == nil {
		return skip("router", workload.ServiceLB, "the lab announces no VIPs to routers")
	}
	var out []Row
	for _, service := range workload.VIPServices(l.Plan) {
		if why := cmp.Or(noVIP(l.Plan, service), scattered(l.Plan, service)); why != "" {
			out = append(out, skip("router", service, why)...)
			continue
		}
		for _, m := range l.Plan.WithRole(topology.RoleRouter) {
			if m.Routing != nil {
				out = append(out, reach(observe.AtHost(m), observe.Ref{Kind: report.AtVIP, Name: service}))
			}
		}
	}
	return out
}

// scattered is why packets for a VIP reach Nodes without an endpoint, which drop them: under
// externalTrafficPolicy Local, Nodes announce it together with other VIPs. "" if they do not.
func scattered(plan topology.Plan, service string) string {
	bgp := plan.LoadBalancer.BGP
	if bgp == nil || !workload.Local(service) || bgp.AggregationLength == 32 {
		return ""
	}
	return fmt.Sprintf("externalTrafficPolicy Local does not work with aggregationLength %d: Nodes without an endpoint announce the VIP too", bgp.AggregationLength)
}

// everyHop sends so many requests that a fair choice of next hops and endpoints misses none.
func everyHop(q Query, p *agent.Probe) {
	p.Count, p.Parallel = enough(max(len(q.Services[q.Row.To.Name].Ready), len(q.Plan.Nodes()))), true
}

// planned is the session of the plan that a row is about.
func (r Row) planned(plan topology.Plan) topology.Session {
	m, _ := plan.Machine(r.From.Name)
	i := slices.IndexFunc(m.Routing.Sessions, func(s topology.Session) bool { return s.Remote == r.Peer })
	return m.Routing.Sessions[i]
}

// sessionOf is what the router said, nil if it said nothing.
func sessionOf(got Answers) *agent.Session {
	if got[PartMain].Outcome != agent.Reply || len(got[PartMain].Answers) == 0 {
		return nil
	}
	return got[PartMain].Answers[0].Session
}

// Established asserts that a session exchanges routes with the right peer.
type Established struct{ alone }

func (Established) String() string { return "the session is established, with the planned AS" }

func (Established) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	is := sessionOf(got)
	if is == nil {
		return nil
	}
	text := func(state string, asn uint32) string { return fmt.Sprintf("%s, AS %d", state, asn) }
	return equal(report.KeySession, "BGP session", text("Established", r.planned(s.Plan).ASN), text(is.State, is.ASN))
}

// Prefixes asserts that a router accepts exactly the prefixes that the plan and the cluster's
// Services give, but for VIPs of the user's own pools.
type Prefixes struct{ alone }

func (Prefixes) String() string {
	return "the prefixes accepted are the planned networks, and the VIPs that the peer should announce"
}

func (Prefixes) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	is := sessionOf(got)
	if is == nil {
		return nil
	}
	want := s.Plan.Routes(s.Announced).Received(r.From.Name, r.planned(s.Plan))
	others := func(p netip.Prefix) bool { return slices.Contains(s.Strange, p) }
	p := equal(report.KeyPrefixes, "prefixes accepted", prefixesText(want), prefixesText(is.Prefixes))
	p[0].OK = slices.Equal(want, slices.DeleteFunc(slices.Clone(is.Prefixes), others))
	return p
}

func prefixesText(all []netip.Prefix) string {
	var out []string
	for _, p := range all {
		out = append(out, p.String())
	}
	return cmp.Or(strings.Join(out, " "), "none")
}

// Watched asserts that BFD watches a session where the plan says so.
type Watched struct{ alone }

func (Watched) String() string { return "BFD is up, where both ends have it" }

func (Watched) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	is := sessionOf(got)
	if is == nil || !r.planned(s.Plan).BFD {
		return nil
	}
	status := ""
	if is.BFD != nil {
		status = is.BFD.Status
	}
	return equal(report.KeyBFD, "BFD", "up", status)
}

// NextHops asserts that a router sends packets for a VIP to those that should announce it: in the
// kernel, and as BGP chose them.
type NextHops struct{}

func (NextHops) String() string {
	return "the router's next hops, of BGP and in the kernel, are the Nodes that should announce the VIP (under externalTrafficPolicy Local: those with an endpoint), and each announces it with the lab's communities"
}

func (NextHops) Probes(q Query) []Ask {
	vip, err := netip.ParseAddr(q.IP)
	if err != nil {
		return nil
	}
	return askHops(q.Plan, q.Row.From, vip)
}

func askHops(plan topology.Plan, router observe.Ref, vip netip.Addr) []Ask {
	to := plan.LoadBalancer.BGP.Announced(vip).String()
	return []Ask{{Part: PartRoute, From: router, Probe: agent.Probe{Kind: agent.Route, Target: to, TimeoutMillis: vtyshMillis}}}
}

func (NextHops) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	return judgeHops(s, r, r.From.Name, got)
}

// judgeHops compares the next hops of a router to a row's VIP; nothing where it was not asked.
func judgeHops(s observe.Snapshot, r Row, router string, got Answers) []report.Property {
	answer, asked := got[PartRoute]
	if !asked {
		return nil
	}
	want := namesOf(s.Plan, hopsTo(s, r, router))
	p := report.Property{Key: report.KeyNextHops, Name: "next hops of " + router, Expected: want, Observed: Said(answer)}
	if len(answer.Answers) > 0 && answer.Answers[0].Hops != nil {
		hops := answer.Answers[0].Hops
		kernel, bgp := namesOf(s.Plan, hops.Kernel), namesOf(s.Plan, hops.BGP)
		p.OK, p.Observed = kernel == want && bgp == want, kernel
		if kernel != bgp {
			p.Observed = fmt.Sprintf("%s in the kernel, %s of BGP", kernel, bgp)
		}
	}
	return append([]report.Property{p}, judgeCommunities(s, answer)...)
}

// judgeCommunities compares those of each path to a VIP; nothing where the lab has none.
func judgeCommunities(s observe.Snapshot, answer agent.Result) []report.Property {
	bgp := s.Plan.LoadBalancer.BGP
	if bgp == nil || len(bgp.Communities) == 0 || len(answer.Answers) == 0 || answer.Answers[0].Hops == nil {
		return nil
	}
	var seen []string
	for _, text := range answer.Answers[0].Hops.Communities {
		seen = append(seen, cmp.Or(inOrder(strings.Fields(text)), "none"))
	}
	slices.Sort(seen)
	return equal(report.KeyCommunities, "communities", inOrder(bgp.Communities), strings.Join(slices.Compact(seen), ", "))
}

func inOrder(words []string) string { return strings.Join(slices.Sorted(slices.Values(words)), " ") }

// hopsTo are the next hops that a router should have to a row's VIP.
func hopsTo(s observe.Snapshot, r Row, router string) []netip.Addr {
	vip, err := netip.ParseAddr(vipOf(s, r))
	if err != nil {
		return nil
	}
	for _, l := range s.Plan.Routes(s.Announced).Learned(router) {
		if l.To == s.Plan.LoadBalancer.BGP.Announced(vip) {
			return l.Via
		}
	}
	return nil
}

// namesOf lists the machines that addresses belong to, in order; an address of no machine
// as it is.
func namesOf(plan topology.Plan, addresses []netip.Addr) string {
	var names []string
	for _, a := range addresses {
		i := slices.IndexFunc(plan.Machines, func(m topology.Machine) bool { return slices.Contains(m.Addresses(), a) })
		if i < 0 {
			names = append(names, a.String())
		} else {
			names = append(names, plan.Machines[i].Name)
		}
	}
	slices.Sort(names)
	return cmp.Or(strings.Join(slices.Compact(names), " "), "none")
}

// Spread asserts that a router uses all its next hops to a VIP. The Node that a flow came in at is
// that of the source address the backend saw or, if that is the client's, of the backend.
type Spread struct{ alone }

func (Spread) String() string { return "flows are spread over all next hops" }

func (Spread) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	seen, bad := answersOfAgents(got[PartMain])
	want := namesOf(s.Plan, hopsTo(s, r, r.From.Name))
	if got[PartMain].Outcome != agent.Reply || bad != nil || !strings.Contains(want, " ") {
		return nil
	}
	nodes := map[string]bool{}
	for _, x := range seen {
		node := s.NodeOfPod(x.Name)
		if !r.Local() {
			node = nodeAt(s, x.Remote)
		}
		if node == "" {
			return nil // by another router, or a CNI whose Nodes do not translate
		}
		nodes[node] = true
	}
	return equal(report.KeySpread, "flows are spread over", want, strings.Join(sorted(nodes), " "))
}

// nodeAt is the Node that an address belongs to, "" for none.
func nodeAt(s observe.Snapshot, ip string) string {
	addr, err := netip.ParseAddr(ip)
	for _, n := range s.Plan.Nodes() {
		if err == nil && slices.Contains(n.Addresses(), addr) || s.OwnEnd(ip, n.Name) {
			return n.Name
		}
	}
	return ""
}

// lastRouter is the router with routing that hands packets for a VIP to Nodes, on the way from a
// machine; false where there is none.
func lastRouter(plan topology.Plan, from string, vip netip.Addr) (observe.Ref, bool) {
	way := topology.Reach(plan, from, vip)
	if !way.Reachable() || len(way.There) == 0 {
		return observe.Ref{}, false
	}
	m, _ := plan.Machine(way.There[len(way.There)-1].From)
	return observe.AtHost(m), m.Routing != nil
}

// wrongHops: a router sends packets for the VIP elsewhere, or nowhere.
func wrongHops(c Case) string {
	for _, p := range c.Finding.Properties {
		if p.Key == report.KeyNextHops && !p.OK {
			return fmt.Sprintf("%s: expected %s, observed %s", p.Name, p.Expected, p.Observed)
		}
	}
	return ""
}

// announcerOfNode: what opens the session of a Node is not ready there.
func announcerOfNode(c Case) string {
	if c.Row.To.Kind != report.AtNode {
		return ""
	}
	return c.State.NotReadyOn(components.Announces, c.Row.To.Name)
}
