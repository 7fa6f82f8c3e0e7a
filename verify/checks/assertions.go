package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Assertion is one thing that must be true of a path in addition to the plain reply. Judge
// is a function of the snapshot, the row and the answers alone, and returns no property for
// what the answers do not show.
type Assertion interface {
	// String is what is asserted, for the documentation.
	String() string
	// Probes are sent in addition to the main one.
	Probes(Query) []Ask
	Judge(observe.Snapshot, Row, Answers) []report.Property
}

// alone is embedded by assertions about the main probe's own answers.
type alone struct{}

func (alone) Probes(Query) []Ask { return nil }

// equal asserts one value.
func equal(key report.Key, name, expected, observed string) []report.Property {
	return []report.Property{{Key: key, Name: name, Expected: expected, Observed: cmp.Or(observed, "nothing"), OK: expected == observed}}
}

// Backends asserts which endpoints answer.
type Backends struct {
	alone
	Every bool // each ready endpoint must answer, over many requests, unless the row is of few
	Same  bool // one endpoint answers every request
	Host  bool // the outside host that an ExternalName resolves to must answer
}

func (b Backends) String() string {
	switch {
	case b.Every:
		return "every ready endpoint answers over N requests"
	case b.Same:
		return "one endpoint answers all of N requests"
	case b.Host:
		return "the outside host answers"
	}
	return "the right backend answers"
}

// of names who may answer a row.
func (b Backends) of(s observe.Snapshot, r Row) []string {
	switch r.To.Kind {
	case report.AtPod, report.AtContainer, report.AtHost:
		return []string{r.To.Name}
	case report.AtNode:
		return []string{workload.NodeAgent(r.To.Name)}
	case report.AtIngress:
		for _, route := range workload.IngressRoutes() {
			if route.Host+route.Path == r.To.Name {
				return s.Services[route.Service].Ready
			}
		}
		return nil
	}
	if p, ok := s.Pods.Pod(r.To.Name); ok {
		return []string{p.Name} // a hostPort
	}
	if b.Host {
		return []string{workload.OutsideHost(s.Plan)}
	}
	return s.Services[r.To.Name].Ready
}

func (b Backends) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	seen, bad := answersOfAgents(got[PartMain])
	if got[PartMain].Outcome != agent.Reply || bad != nil || r.Status != 0 {
		return nil
	}
	want, names := b.of(s, r), seen.backends()
	p := report.Property{Key: report.KeyBackend, Name: "backend", Expected: strings.Join(want, " "), Observed: cmp.Or(strings.Join(names, " "), "nothing")}
	p.OK = len(names) > 0 && len(without(names, want)) == 0
	switch {
	case b.Every && !r.Few:
		p.Name = "every ready endpoint answers"
		p.OK = p.OK && len(without(want, names)) == 0
	case b.Same:
		p.Name, p.Expected = "one endpoint answers every request", "only one of "+p.Expected
		p.OK = p.OK && len(names) == 1
	case len(want) > 1:
		p.Expected = "one of " + p.Expected
	}
	return []report.Property{p}
}

// missing are the endpoints that should each have answered and did not.
func (r Row) missing(s observe.Snapshot, names []string) []string {
	for _, a := range r.check().Asserts {
		if b, ok := a.(Backends); ok && b.Every && !r.Few {
			return without(b.of(s, r), names)
		}
	}
	return nil
}

// without returns the names that are not among others.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(others, n) })
}

// Status asserts the HTTP status of rows that something other than an agent must answer.
type Status struct{ alone }

func (Status) String() string { return "an unknown host gets 404" }

func (Status) Judge(_ observe.Snapshot, r Row, got Answers) []report.Property {
	if r.Status == 0 || got[PartMain].Outcome != agent.Reply {
		return nil
	}
	i := slices.IndexFunc(got[PartMain].Answers, func(a agent.Answer) bool { return a.Outcome == agent.Reply })
	return equal(report.KeyStatus, "status for an unknown host", strconv.Itoa(r.Status), strconv.Itoa(got[PartMain].Answers[i].Status))
}

// silence is an assertion of rows that must get no answer.
type silence interface{ silent() }

func (Silent) silent() {}

// Silent asserts that rows which must be blocked get no answer, while the control shows
// that their client reaches the cluster.
type Silent struct {
	Control func(Query) string // the Node that the client must reach
	Where   string             // the rows it applies to, for the documentation; "" for all
}

func (x Silent) String() string {
	return strings.TrimSpace("no answer "+x.Where) + ", while the client reaches a Node"
}

// Probes sends the control to the Node itself, over the route that the row takes.
func (x Silent) Probes(q Query) []Ask {
	return q.also(PartControl, agent.Probe{Kind: agent.HTTP,
		Target: "http://" + observe.JoinPort(q.Toward(q.Row.From, x.Control(q)), agent.HostNetworkHTTP) + "/"})
}

// Judge returns nothing: the package's function Judge judges rows that must get no reply.
func (Silent) Judge(observe.Snapshot, Row, Answers) []report.Property { return nil }

// PathMTU asserts the largest payload that arrives unfragmented.
type PathMTU struct{}

func (PathMTU) String() string { return "the largest unfragmented payload matches the expected MTU" }

func (PathMTU) Probes(q Query) []Ask {
	return q.also(PartMTU, agent.Probe{Kind: agent.MTU, Target: observe.JoinPort(q.IP, agent.PortUDP),
		Hint: expectedPayload(q.Snapshot, q.Row.From.Node, q.Row.To.Node), TimeoutMillis: 3000})
}

func (PathMTU) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	if got[PartMain].Outcome != agent.Reply {
		return nil
	}
	want := expectedPayload(s, r.From.Node, r.To.Node)
	p := report.Property{Key: report.KeyPayload, Name: "largest unfragmented payload", Expected: payloadText(want), Observed: Said(got[PartMTU])}
	if mtu := got[PartMTU]; mtu.Outcome == agent.Reply {
		payload := mtu.Answers[0].Payload
		p.Observed, p.OK = payloadText(payload), payload == want
		p.Measurement = &report.Measurement{Key: report.MeasuredPayload, Value: float64(payload), Unit: report.UnitBytes}
	}
	return []report.Property{p}
}

func payloadText(n int) string { return fmt.Sprintf("%d bytes of UDP", n) }

// SharedPorts asserts that the containers of a Pod have one port space.
type SharedPorts struct{}

func (SharedPorts) String() string { return "one port space: a second bind on the port fails" }

func (SharedPorts) Probes(q Query) []Ask { return q.also(PartBind, secondPortProbe()) }

func (SharedPorts) Judge(_ observe.Snapshot, _ Row, got Answers) []report.Property {
	if got[PartMain].Outcome != agent.Reply {
		return nil
	}
	return []report.Property{{Key: report.KeyPorts, Name: "port space", Expected: "a second bind is refused", Observed: Said(got[PartBind]),
		OK: got[PartBind].Outcome == agent.Refused}}
}

// Certificate asserts that the Ingress's own certificate is served.
type Certificate struct{ alone }

func (Certificate) String() string { return "the certificate served is the Ingress's (HTTPS)" }

func (Certificate) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	_, bad := answersOfAgents(got[PartMain])
	if got[PartMain].Outcome != agent.Reply || bad != nil || r.Status != 0 || r.Protocol != agent.HTTPS {
		return nil
	}
	p := report.Property{Key: report.KeyCertificate, Name: "certificate", Expected: "the Ingress's own", Observed: "none"}
	if c := got[PartMain].Answers[0].Certificate; c != nil {
		p.Expected, p.Observed = "for "+strings.Join(workload.IngressHosts(), " "), "for "+strings.Join(c.DNSNames, " ")
		p.OK = c.SHA256 == s.Leaf
	}
	return []report.Property{p}
}

// VIPAnnounced asserts that the VIP of a row is in the pool and announced as the lab has it: by ARP of
// exactly one Node, under externalTrafficPolicy Local one with an endpoint; to routers, by the
// Nodes that NextHops says; or by ARP of a host outside the cluster, which forwards to the Nodes that are healthy. A reply that came only thanks to a stale ARP entry does not hide that
// no Node announces the VIP any more.
type VIPAnnounced struct{}

func (VIPAnnounced) String() string {
	return "the VIP is in the pool, and one Node answers ARP for it; in mode bgp, the next hops of the router before the Nodes are those that should announce it; in mode external, the host outside the cluster answers ARP, and finds all Nodes healthy that are not excluded (under externalTrafficPolicy Local: those with an endpoint)"
}

func (VIPAnnounced) Probes(q Query) []Ask {
	vip, err := netip.ParseAddr(vipOf(q.Snapshot, q.Row))
	if err != nil {
		return nil
	}
	if q.Plan.LoadBalancer.BGP == nil {
		return append(ARPFor(q.Snapshot, q.Row.From, q.IP), askBalancer(q, vip)...)
	}
	router, ok := lastRouter(q.Plan, q.Row.From.Name, vip)
	if !ok {
		return nil
	}
	return askHops(q.Plan, router, vip)
}

func (VIPAnnounced) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	vip := vipOf(s, r)
	if vip == "" {
		return nil
	}
	addr, err := netip.ParseAddr(vip)
	network, _ := workload.VIPNetwork(s.Plan, r.To.Name)
	pools := network.Pools
	out := []report.Property{{Key: report.KeyVIPPool, Name: "VIP in the pool", Expected: poolText(pools), Observed: vip,
		OK: err == nil && topology.LoadBalancer{Pools: pools}.Contains(addr)}}
	if router, ok := lastRouter(s.Plan, r.From.Name, addr); ok && s.Plan.LoadBalancer.BGP != nil {
		return append(out, judgeHops(s, r, router.Name, got)...)
	}
	out = append(out, judgeBalancer(s, r, addr, got)...)
	arp, asked := got[PartARP]
	if !asked {
		return out
	}
	if host, external := s.Plan.External(); external {
		return append(out, equal(report.KeyVIPOwner, "owner of the VIP", host.Name, strings.Join(owners(s, arp), " and "))...)
	}
	p := report.Property{Key: report.KeyVIPOwner, Name: "owner of the VIP", Expected: "a Node", Observed: "no ARP reply for " + vip}
	if arp.Outcome == agent.Reply {
		who := owners(s, arp)
		p.Expected, p.Observed, p.OK = "one Node", strings.Join(who, " and "), len(who) == 1
		if r.Local() {
			p.Expected = "a Node with an endpoint"
		}
		for _, o := range who {
			m, _ := s.Plan.Machine(o)
			p.OK = p.OK && m.Kind == "node" && (!r.Local() || slices.Contains(s.Services[r.To.Name].Nodes, o))
		}
	}
	return append(out, p)
}

// owners are the names of the machines that answered ARP.
func owners(s observe.Snapshot, arp agent.Result) []string {
	if arp.Outcome != agent.Reply {
		return nil
	}
	var out []string
	for _, mac := range arp.Answers[0].MACs {
		out = append(out, cmp.Or(s.NICOwner(mac), "unknown MAC "+mac))
	}
	return out
}

// vipOf is the VIP that a row targets, "" for none.
func vipOf(s observe.Snapshot, r Row) string {
	switch {
	case r.Through != "":
		return ""
	case r.To.Kind == report.AtVIP:
		return s.Services[r.To.Name].VIP
	case r.To.Kind == report.AtIngress && s.Plan.Ingress.Service != "NodePort":
		return s.Ingress.VIP
	}
	return ""
}
