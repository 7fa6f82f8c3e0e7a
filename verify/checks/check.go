// Package checks is the table of the communication paths of a lab. One entry defines a
// path completely: its id, its heading, the rows that it has for a plan and its CNI, the
// probes of a row, what must be true of the answers, and what explains a failure.
// Each family of paths has a file; All lists the entries.
//
// It takes an observe.Snapshot and the answers of agents and returns findings. It sends no
// probe and changes nothing in the cluster: verify/run does.
package checks

import (
	"net/netip"
	"slices"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Check is one communication path.
type Check struct {
	ID      string
	Aliases []string // earlier ids, which are still accepted
	Section string   // heading in reports
	Grid    string   // matrix with its sources as rows and its destinations as columns; "" for none
	Title   string   // from → to, for the documentation

	Rows     func(Lab) []Row // at least one: a skip with its reason where the lab lacks what it requires
	Request  Request         // how the main probe differs from a plain request; may be nil
	Asserts  []Assertion     // of a reply, and Silent of rows that must not get one
	Suspects []Suspect       // what explains a failure, the nearest cause first

	Thorough    bool         // asked only on demand: it takes long
	Policy      *Policy      // of paths that test a policy
	Rolling     *Rolling     // of paths during which a backend is replaced
	Measurement *Measurement // of throughput-* and latency-*
	Failover    *Failover    // of failover-*
}

// Lab is what rows are derived from.
type Lab struct {
	Plan    topology.Plan
	Support components.Support
	Pods    workload.Pods
	Nodes   []topology.Machine
	Clients []topology.Machine // outside hosts that send requests

	sample map[pair]bool // of the pairs of Nodes; nil for all
	own    []Row         // of the user's paths
}

// Row is one source and destination of a path.
type Row struct {
	ID       string
	From, To observe.Ref
	Protocol string
	Expected string
	Skip     string     // why it does not apply to the lab; "" if it does
	Status   int        // HTTP status that something other than an agent must answer with; 0: an agent answers
	Peer     netip.Addr // of a BGP session: the peer's address; of a VIP that hosts share: the VIP
	Through  string     // host of role load-balancer, or VIP of several, that is asked in place of the Ingress controller
	Few      bool       // any ready endpoint may answer a few requests, where the path's other clients ask for all

	Measures  string // throughput or latency, of a measurement
	Route     string // of a measurement
	Streams   int    // of a throughput: at a time
	Direction string // of a throughput
	Connect   bool   // of a latency: each request on its own connection

	Own labs.Path // of a path of the user's
}

// All returns the table, in the order of the report.
func All() []Check {
	return slices.Concat(pods(), services(), rolling(), api(), dns(), nodePorts(), loadBalancer(), ingress(), byHand(), routing(), vrrp(), toOutside(), fromOutside(), policies(), own(),
		failover(), throughput(), latency())
}

// Find returns the entry with an id or earlier id.
func Find(id string) (Check, bool) {
	for _, c := range All() {
		if c.ID == id || slices.Contains(c.Aliases, id) {
			return c, true
		}
	}
	return Check{}, false
}

// IDs returns the ids of the paths that every lab has, in the order of the report, without the
// measurements and failovers.
func IDs() []string {
	var ids []string
	for _, s := range Layout().Sections {
		ids = append(ids, slices.DeleteFunc(slices.Clone(s.IDs), func(id string) bool { c, _ := Find(id); return c.Thorough || c.Failover != nil || c.ID == Mine })...)
	}
	return ids
}

// Paths returns the ids of all paths, without the measurements and failovers.
func Paths() []string {
	var ids []string
	for _, s := range Layout().Sections {
		ids = append(ids, slices.DeleteFunc(slices.Clone(s.IDs), func(id string) bool { c, _ := Find(id); return c.Failover != nil })...)
	}
	return ids
}

// Layout is how reports group the paths.
func Layout() report.Layout {
	var l report.Layout
	for _, c := range All() {
		if c.Measurement != nil {
			continue
		}
		l.Sections = grouped(l.Sections, c.Section, c.ID)
		if c.Grid != "" {
			l.Grids = grouped(l.Grids, c.Grid, c.ID)
		}
	}
	return l
}

func grouped(sections []report.Section, title, id string) []report.Section {
	i := slices.IndexFunc(sections, func(s report.Section) bool { return s.Title == title })
	if i < 0 {
		return append(sections, report.Section{Title: title, IDs: []string{id}})
	}
	sections[i].IDs = append(sections[i].IDs, id)
	return sections
}

// Pods gives the Pods that the paths of a plan require.
func Pods(plan topology.Plan) workload.Pods {
	var subjects []workload.Subject
	for _, c := range All() {
		if c.Policy != nil && c.Policy.Subject != nil {
			subjects = append(subjects, *c.Policy.Subject)
		}
	}
	return workload.PodsOf(plan, subjects)
}

func labOf(plan topology.Plan, support components.Support) Lab {
	return Lab{Plan: plan, Support: support, Pods: Pods(plan), Nodes: plan.Nodes(), Clients: plan.WithRole(topology.RoleClient)}
}

// Rows are those of the usual Extent.
func Rows(plan topology.Plan, support components.Support) []Row { return Extent{}.Rows(plan, support) }

// Rows derives the rows of a plan: every id at least once, as a skip with its reason where
// it does not apply to the lab. The order is fixed.
func (e Extent) Rows(plan topology.Plan, support components.Support) []Row {
	lab := labOf(plan, support)
	lab.sample, lab.own = e.pairs(lab.Nodes), e.Own
	var out []Row
	for _, c := range All() {
		if c.Measurement != nil || c.Failover != nil || c.Thorough && !e.Thorough && !slices.Contains(e.Only, c.ID) || !e.asks(c) {
			continue
		}
		for _, r := range c.Rows(lab) {
			r.ID = c.ID
			if r.Skip == "" && c.ID != Mine {
				r.Skip = lab.separated(r)
			}
			out = append(out, r)
		}
	}
	return out
}

func (r Row) check() Check {
	c, _ := Find(r.ID)
	return c
}

// Aliases are the earlier ids of a row's path.
func (r Row) Aliases() []string { return r.check().Aliases }

// Policy is that of a row's path, nil where it tests none.
func (r Row) Policy() *Policy { return r.check().Policy }

// Rolling is that of a row's path, nil where no backend is replaced.
func (r Row) Rolling() *Rolling { return r.check().Rolling }

// Local reports whether a row targets a Service with externalTrafficPolicy Local, which
// keeps the client's address and is served only by Nodes with an endpoint.
func (r Row) Local() bool { return workload.Local(r.To.Name) }

const (
	noInternet  = "the lab has no internet host"
	noClient    = "the lab has no outside client"
	oneNode     = "the lab has one Node"
	noIngress   = "the lab has no ingress controller"
	onlyProxies = "the ingress controller serves only proxies that speak the PROXY protocol"
)

// reach is a row that must get an HTTP reply.
func reach(from, to observe.Ref) Row {
	return Row{From: from, To: to, Protocol: "http", Expected: report.Reachable}
}

// over is a row over another protocol.
func (r Row) over(protocol string) Row {
	r.Protocol = protocol
	return r
}

// blocked is a row that must not get a reply.
func (r Row) blocked() Row {
	r.Expected = report.Unreachable
	return r
}

// skip is a row that does not apply to the lab, with descriptions in place of the ends that
// it lacks.
func skip(from, to, reason string) []Row {
	r := reach(observe.Ref{Name: from}, observe.Ref{Name: to})
	r.Skip = reason
	return []Row{r}
}

// echo returns a Node's echo Pod.
func (l Lab) echo(node string) observe.Ref { return observe.AtPod(l.Pods.EchoOn(node)) }

// second returns another Pod on the same Node.
func (l Lab) second(node string) observe.Ref { return observe.AtPod(l.Pods.SecondOn(node)) }

// first returns the echo Pod behind the Services with one endpoint.
func (l Lab) first() observe.Ref { return observe.AtPod(l.Pods.Echo[0]) }

// last returns an echo Pod that is not behind them.
func (l Lab) last() observe.Ref { return observe.AtPod(l.Pods.Echo[len(l.Pods.Echo)-1]) }

// fromEach is a row from every Node's echo Pod to one destination.
func (l Lab) fromEach(to observe.Ref) []Row {
	var out []Row
	for _, n := range l.Nodes {
		out = append(out, reach(l.echo(n.Name), to))
	}
	return out
}

// pairs returns the rows of every ordered pair of Nodes, or of the sample of them; the pair of a
// Node and itself is never left out.
func (l Lab) pairs(of func(from, to topology.Machine) (Row, bool)) []Row {
	var out []Row
	for _, from := range l.Nodes {
		for _, to := range l.Nodes {
			if from.Name != to.Name && l.sample != nil && !l.sample[pair{from.Name, to.Name}] {
				continue
			}
			if r, ok := of(from, to); ok {
				out = append(out, r)
			}
		}
	}
	return out
}
