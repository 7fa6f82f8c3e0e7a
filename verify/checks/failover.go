package checks

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths whose client asks while the machine that carries them is switched off.
const (
	FailoverLoadBalancer = "failover-load-balancer"
	FailoverRouter       = "failover-router"
	FailoverARP          = "failover-arp"
	FailoverBGP          = "failover-bgp"
	FailoverBackend      = "failover-backend"
)

// Failover is a path on which another machine takes over from one that is switched off.
type Failover struct {
	// Carrier is the machine that carries the path, given the finding of a plain probe of it.
	Carrier func(observe.Snapshot, Row, Finding) (name string)
	Asked   time.Duration // how long the client asks: longer than any takeover
	Outage  time.Duration // the longest time without an answer
}

// FailoverPause is between two requests of a client, and FailoverTimeout how long each waits: shorter than
// TCP takes to send a SYN again.
const (
	FailoverPause   = 10 * time.Millisecond
	FailoverTimeout = 250 * time.Millisecond
)

// The times without an answer that are expected at most. VRRP takes 3.2 s (three advertisements of 1 s and
// the skew), MetalLB's speakers some seconds to miss one, BGP its hold time. A Node's endpoints get
// requests until it is NotReady, after 40 to 50 s: until then some requests have no answer.
const (
	vrrpOutage = 5 * time.Second
	nodeOutage = 15 * time.Second
	nodeAsked  = 80 * time.Second
)

func failover() []Check {
	const section = "Failover"
	return []Check{
		{
			ID: FailoverLoadBalancer, Section: section, Title: "outside host → Ingress by the VIP of load balancers, of which the holder is switched off",
			Rows: func(l Lab) []Row {
				for _, r := range byHandRows(l) {
					if _, shared := sharers(l.Plan, r.Through); shared || r.Skip != "" {
						return []Row{r}
					}
				}
				return skip("outside client", "VIP", "no load balancers of the lab share a VIP")
			},
			Request: virtualHost, Asserts: []Assertion{Backends{}},
			Failover: &Failover{Carrier: func(s observe.Snapshot, r Row, _ Finding) string { name, _ := r.Balancer(s); return name }, Asked: 12 * time.Second, Outage: vrrpOutage},
		},
		{
			ID: FailoverRouter, Section: section, Title: "outside host → outside host by the gateway of routers, of which the holder is switched off",
			Rows:    throughGateway,
			Asserts: []Assertion{Backends{}},
			Failover: &Failover{Carrier: func(s observe.Snapshot, r Row, _ Finding) string {
				g, _ := gatewayOf(s.Plan, r)
				return g.Holder(s.Off)
			}, Asked: 12 * time.Second, Outage: vrrpOutage},
		},
		{
			ID: FailoverARP, Section: section, Title: "outside host → VIP of a Service, of which the Node that announces it by ARP is switched off",
			Rows:     func(l Lab) []Row { return l.nodeFailover(labs.ModeL2) },
			Asserts:  []Assertion{Backends{}, VIPAnnounced{}},
			Failover: &Failover{Carrier: func(_ observe.Snapshot, _ Row, f Finding) string { return f.property(report.KeyVIPOwner) }, Asked: nodeAsked, Outage: nodeOutage},
		},
		{
			ID: FailoverBGP, Section: section, Title: "outside host → VIP of a Service, of which a next hop of the router is switched off",
			Rows:     func(l Lab) []Row { return l.nodeFailover(labs.ModeBGP) },
			Asserts:  []Assertion{Backends{}, VIPAnnounced{}},
			Failover: &Failover{Carrier: last(report.KeyNextHops), Asked: nodeAsked, Outage: nodeOutage},
		},
		{
			ID: FailoverBackend, Section: section, Title: "outside host → VIP of a Service, of which a Node behind the load balancer outside the cluster is switched off",
			Rows:     func(l Lab) []Row { return l.nodeFailover(labs.ModeExternal) },
			Asserts:  []Assertion{Backends{}, VIPAnnounced{}},
			Failover: &Failover{Carrier: last(report.KeyHealthy), Asked: nodeAsked, Outage: nodeOutage},
		},
	}
}

// throughGateway is the row from a client whose gateway routers share to an outside host behind them.
func throughGateway(l Lab) []Row {
	for _, c := range l.Clients {
		for _, to := range l.Plan.Hosts() {
			r := reach(observe.AtHost(c), observe.AtHost(to))
			if _, shared := gatewayOf(l.Plan, r); shared {
				return []Row{r}
			}
		}
	}
	return skip("outside client", "outside host", "no client has a way by a gateway that routers share")
}

// gatewayOf are the routers that share the next hop of a row's client, to an outside host.
func gatewayOf(plan topology.Plan, r Row) (topology.Sharers, bool) {
	from, _ := plan.Machine(r.From.Name)
	to, known := plan.Machine(r.To.Name)
	if !known || to.Role == topology.RoleRouter || !topology.Reach(plan, from.Name, to.Address()).Reachable() {
		return topology.Sharers{}, false
	}
	for _, way := range plan.Ways(from, to.Address()) {
		if s, shared := sharers(plan, way.Via.String()); shared && s.Role == topology.RoleRouter {
			return s, true
		}
	}
	return topology.Sharers{}, false
}

// nodeFailover is the row from a client to a VIP that Nodes announce in a mode.
func (l Lab) nodeFailover(mode string) []Row {
	why := noOutsideVIP(l, workload.ServiceLB)
	switch {
	case why != "":
	case l.Plan.LoadBalancer.Mode != mode:
		why = "the lab announces VIPs in mode " + l.Plan.LoadBalancer.Mode
	case len(l.Plan.WithRole(topology.RoleWorker)) < 2:
		why = "the lab has fewer than two workers"
	default:
		return []Row{reach(observe.AtHost(l.Clients[0]), observe.Ref{Kind: report.AtVIP, Name: workload.ServiceLB})}
	}
	return skip("outside client", workload.ServiceLB, why)
}

// last is the last of several names that a property was seen to have, such as those of the router's next hops.
func last(key report.Key) func(observe.Snapshot, Row, Finding) string {
	return func(_ observe.Snapshot, _ Row, f Finding) string {
		names := strings.Fields(f.property(key))
		if len(names) < 2 {
			return ""
		}
		return names[len(names)-1]
	}
}

// property is what was observed of a property, "" if it was not.
func (f Finding) property(key report.Key) string {
	i := slices.IndexFunc(f.Properties, func(p report.Property) bool { return p.Key == key })
	if i < 0 {
		return ""
	}
	return f.Properties[i].Observed
}

// FailoverRows are the rows of the failovers that a plan has, or skips with their reasons.
func FailoverRows(plan topology.Plan, support components.Support) []Row {
	l := labOf(plan, support)
	var out []Row
	for _, c := range All() {
		if c.Failover == nil {
			continue
		}
		for _, r := range c.Rows(l) {
			r.ID = c.ID
			if r.Skip == "" {
				r.Skip = l.separated(r)
			}
			out = append(out, r)
		}
	}
	return out
}

// Failover is that of a row's path, nil where nothing is switched off.
func (r Row) Failover() *Failover { return r.check().Failover }

// Series has a probe repeated for as long as the client of a failover asks.
func (x Failover) Series(p agent.Probe) agent.Probe {
	p.Count, p.Parallel = 0, true
	p.ForMillis, p.PauseMillis, p.TimeoutMillis = int(x.Asked.Milliseconds()), int(FailoverPause.Milliseconds()), int(FailoverTimeout.Milliseconds())
	return p
}

// JudgeFailover adds to a finding for how long the client of a failover got no answers since a machine was
// switched off, so long after the start of its series. The times are those at which requests start: they
// are as exact as the requests are dense.
func JudgeFailover(f *Finding, x Failover, machine string, series agent.Result, off time.Duration) {
	var after []agent.Answer
	for _, a := range series.Answers {
		switch at := time.Duration(a.AfterMicros) * time.Microsecond; {
		case at >= off:
			after = append(after, a)
		case !replied(a):
			f.Outcome = report.Broken
			f.Reason = fmt.Sprintf("a request had no answer before %s was switched off: %s", machine, Said(agent.Result{Outcome: a.Outcome, Error: a.Error}))
			return
		}
	}
	if len(after) == 0 {
		f.Outcome, f.Reason = report.Broken, "the client stopped asking before "+machine+" was off"
		return
	}
	var silences []silentTime
	replies := 0
	for i, a := range after {
		at := time.Duration(a.AfterMicros) * time.Microsecond
		switch {
		case replied(a):
			replies++
		case i == 0 || replied(after[i-1]):
			silences = append(silences, silentTime{from: at, to: at})
		}
		if n := len(silences); n > 0 && (!replied(a) || !replied(after[i-1])) {
			silences[n-1].to = at
		}
	}
	f.Assert(report.Property{Key: report.KeyAnswered, Name: "requests answered since " + machine + " was switched off", Expected: "the last one",
		Observed: fmt.Sprintf("%d of %d", replies, len(after)), OK: replied(after[len(after)-1])})
	var outage, disturbed time.Duration
	for _, s := range silences {
		outage, disturbed = max(outage, s.to-s.from), s.to-silences[0].from
	}
	f.within(report.MeasuredOutage, "longest time without an answer in ms", x.Outage, outage)
	f.within(report.MeasuredDisturbed, "time until every request is answered again in ms", x.Asked, disturbed)
}

// silentTime is from the first request without an answer to the next one that has one.
type silentTime struct{ from, to time.Duration }

func replied(a agent.Answer) bool {
	return a.Outcome == agent.Reply && (a.Status == 0 || a.Status == http.StatusOK)
}

// within asserts that something took at most bound, in ms.
func (f *Finding) within(key, name string, bound, took time.Duration) {
	f.Assert(report.Property{Name: name, Expected: fmt.Sprintf("at most %d", bound.Milliseconds()), Observed: fmt.Sprint(took.Milliseconds()),
		OK: took <= bound, Measurement: &report.Measurement{Key: key, Value: float64(took.Milliseconds()), Unit: report.UnitMillis}})
}
