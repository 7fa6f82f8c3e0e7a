package checks

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Facts are what a cluster's state says of failures: since the verification began it may have
// changed.
type Facts struct {
	observe.Snapshot
	State observe.State // with policies; to explain with events too
	away  map[string]string
	unmet map[string]string // What → Why
}

// FactsOf compares a state with the snapshot that rows were probed by.
func FactsOf(s observe.Snapshot, state observe.State) Facts {
	f := Facts{Snapshot: s, State: state, away: state.AwayOf(s.Plan), unmet: map[string]string{}}
	for _, l := range observe.UnmetOf(state, s.Plan, s.Pods) {
		f.unmet[l.What] = l.Why
	}
	return f
}

// Case is a failed row, with the facts and the results of the other rows.
type Case struct {
	Facts
	Judged
	lost []lostPair
}

// Suspect returns a likely cause of a failure, "" where it does not apply.
type Suspect func(Case) string

// Explain adds the likely cause to each failed row's reason, from the results of the other
// rows and from the cluster's own state. It changes no outcome.
func Explain(ctx context.Context, s observe.Snapshot, look func(context.Context) observe.State, reaches func(ctx context.Context, from, to string) (reached, asked bool), rows []*Judged) {
	failed := slices.DeleteFunc(slices.Clone(rows), func(x *Judged) bool { return !x.Finding.Failed() })
	if len(failed) == 0 {
		return
	}
	facts := FactsOf(s, look(ctx))
	pairs := lostPairs(rows)
	for i := range pairs {
		reached, asked := reaches(ctx, pairs[i].a, pairs[i].b)
		switch {
		case asked && reached:
			pairs[i].scope = " (Pod traffic only: the Nodes themselves reach each other)"
		case asked:
			pairs[i].scope = " (the Nodes' own traffic too)"
		}
	}
	for _, x := range failed {
		x.Finding.Reason = observe.Join(x.Finding.Reason, explained(Case{facts, *x, pairs}))
	}
}

// Known is why a row that is not as expected stays so, however often it is probed: the cluster's
// state says it, or the wait before the first probe did not change it. "" if nothing is known.
func (f Facts) Known(x Judged) string {
	c := Case{Facts: f, Judged: x}
	why := nearest(c)
	if why != "" || c.Row.Expected == report.Unreachable {
		return why
	}
	if d := denial(c); d.Sure {
		return d.Why
	}
	for _, suspect := range c.Row.check().Suspects {
		if why := suspect(c); why != "" && slices.Contains(slices.Collect(maps.Values(c.Unmet)), why) {
			return why
		}
	}
	return ""
}

// nearest is the cause that leaves no other: a machine of the path is away, a link is down, an agent
// of the row is not there.
func nearest(c Case) string { return cmp.Or(away(c), linkDown(c), agentGone(c), noControl(c)) }

// explained returns the nearest cause; a row that could not be probed has its reason already, except
// a policy whose control failed.
func explained(c Case) string {
	if why := nearest(c); why != "" || c.Row.Expected == report.Unreachable {
		return why
	}
	if d := denial(c); d.Why != "" {
		return d.Why
	}
	entry := c.Row.check()
	if c.Finding.Outcome == report.Broken && entry.Policy == nil {
		return ""
	}
	for _, suspect := range entry.Suspects {
		if why := suspect(c); why != "" {
			if strings.Contains(c.Finding.Reason, why) { // the reason says it already
				return outOfOrder(c)
			}
			return observe.Join(why, outOfOrder(c))
		}
	}
	if c.Finding.Outcome != report.Fail {
		return ""
	}
	return observe.Join(outOfOrder(c), strings.Join(Impaired(c.Snapshot), "; "))
}

// agentGone: an agent of the row was ready when the verification began, and is not any more.
func agentGone(c Case) string {
	ends, names := []observe.Ref{c.Row.From, c.Row.To}, slices.Clone(c.Services[c.Row.To.Name].Ready)
	for _, l := range c.legs() {
		ends = append(ends, l.From, l.To)
	}
	for _, r := range ends {
		names = append(names, map[bool]string{true: workload.NodeAgent(r.Name), false: r.Name}[r.Kind == report.AtNode])
	}
	for _, pod := range c.backends() {
		names = append(names, pod.Name)
	}
	for _, name := range names {
		what := "pod/" + name
		if why := c.unmet[what]; why != "" && c.Unmet[what] == "" {
			return why + " (it was ready when the verification began)"
		}
	}
	return ""
}

// legs are those of a policy's row.
func (c Case) legs() []Leg {
	if c.Row.Policy() == nil {
		return nil
	}
	x := c.Row.Policy().Scenario(c.Snapshot)
	return append(slices.Clone(x.Denied), x.Allowed...)
}

// noControl: the agent that answers the control of a row that must be silent is not there.
func noControl(c Case) string {
	if c.Row.Expected != report.Unreachable || c.Finding.Outcome != report.Broken {
		return ""
	}
	for _, a := range c.Row.check().Asserts {
		if x, ok := a.(Silent); ok {
			return c.Unmet["pod/"+workload.NodeAgent(x.Control(Query{Snapshot: c.Snapshot, Row: c.Row}))]
		}
	}
	return ""
}

// clusterDNS: CoreDNS has no endpoint.
func clusterDNS(c Case) string { return c.Unmet["dns"] }

// serviceUnmet: the Service has no VIP, or no endpoint.
func serviceUnmet(c Case) string { return c.Unmet["service/"+c.Row.To.Name] }

// ingressController: the controller is not ready, or has no VIP.
func ingressController(c Case) string { return c.Unmet["ingress"] }

// ingressBackend: the Service behind the Ingress's host and path has no endpoint.
func ingressBackend(c Case) string {
	for _, r := range workload.IngressRoutes() {
		if r.Host+r.Path == c.Row.To.Name && len(c.Services[r.Service].Ready) == 0 {
			return fmt.Sprintf("ingress backend %s", cmp.Or(c.Unmet["service/"+r.Service], "Service "+r.Service+" has no ready endpoints"))
		}
	}
	return ""
}

// vipAnnouncer: nothing announces VIPs.
func vipAnnouncer(c Case) string {
	if vipOf(c.Snapshot, c.Row) == "" {
		return ""
	}
	why := c.State.NoReadyPod(components.Announces)
	if why == "" && c.Support.VIPs.ExcludesNodes {
		why = c.State.Excluded()
	}
	return cmp.Or(why, localAnnouncer(c))
}

// localAnnouncer: under externalTrafficPolicy Local only Nodes with an endpoint announce the VIP, and
// none of them can.
func localAnnouncer(c Case) (why string) {
	name := c.Row.To.Name
	if !workload.Local(name) {
		return ""
	}
	for _, node := range c.Services[name].Nodes {
		if why = c.State.NotReadyOn(components.Announces, node); why == "" {
			return ""
		}
	}
	return why
}

// lostPackets: no packet passes between two of the Nodes on the path.
func lostPackets(c Case) string { return lostBetween(c.lost, c.Finding.Nodes) }

// lostToDNS: likewise, including the Nodes of CoreDNS.
func lostToDNS(c Case) string {
	return lostBetween(c.lost, slices.Concat(c.Finding.Nodes, dnsNodes(c.State)))
}

// kubeProxyOfClient: the kube-proxy of the client's Node; for an outside client, that of any
// Node.
func kubeProxyOfClient(c Case) string { return kubeProxy(c, c.Row.From.Node) }

// kubeProxyOfTarget: that of the Node whose NodePort is requested.
func kubeProxyOfTarget(c Case) string { return kubeProxy(c, c.Row.To.Node) }

func kubeProxy(c Case, node string) string {
	for _, p := range c.State.KubeProxy() {
		if c.IsOff(p.Spec.NodeName) {
			continue
		}
		if (node == "" || p.Spec.NodeName == node) && !observe.PodReady(p) {
			return strings.TrimSpace(fmt.Sprintf("kube-proxy on %s is not ready: %s", p.Spec.NodeName, observe.PodTrouble(p)))
		}
	}
	return ""
}

// lostPair is two Nodes whose Pods do not reach each other.
type lostPair struct {
	a, b  string
	scope string
}

func (p lostPair) String() string {
	return fmt.Sprintf("packets between %s and %s are lost%s", p.a, p.b, p.scope)
}

// lostBetween describes the first lost pair among some Nodes.
func lostBetween(pairs []lostPair, nodes []string) string {
	for _, p := range pairs {
		if slices.Contains(nodes, p.a) && slices.Contains(nodes, p.b) {
			return p.String()
		}
	}
	return ""
}

// lostPairs finds the pairs of Nodes between which every Pod to Pod row failed in both
// directions, while Pods on the same Node reach each other on each of the two.
func lostPairs(rows []*Judged) []lostPair {
	inside := map[string]bool{}
	type count struct{ all, failed int }
	between := map[[2]string]count{}
	var order [][2]string
	for _, x := range rows {
		r := x.Row
		switch {
		case r.Measures != "" || r.Expected != report.Reachable || r.From.Kind != report.AtPod || r.To.Kind != report.AtPod:
		case r.From.Node == r.To.Node:
			inside[r.From.Node] = x.Finding.Outcome == report.Pass
		default:
			key := [2]string{min(r.From.Node, r.To.Node), max(r.From.Node, r.To.Node)}
			c, seen := between[key]
			if !seen {
				order = append(order, key)
			}
			c.all++
			if x.Finding.Outcome == report.Fail && x.Finding.Observed.Backend == "" {
				c.failed++
			}
			between[key] = c
		}
	}
	var out []lostPair
	for _, key := range order {
		c := between[key]
		if c.failed == c.all && inside[key[0]] && inside[key[1]] {
			out = append(out, lostPair{a: key[0], b: key[1]})
		}
	}
	return out
}
