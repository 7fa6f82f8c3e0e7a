package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/components/cloud/balancer"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// askBalancer asks the host outside the cluster that has a VIP which Nodes it forwards to; nothing where Nodes
// announce VIPs, or the host is off.
func askBalancer(q Query, vip netip.Addr) []Ask {
	host, external := q.Plan.External()
	if !external || q.IsOff(host.Name) {
		return nil
	}
	return []Ask{{Part: PartBalancer, From: observe.AtHost(host), Probe: agent.Probe{Kind: agent.Balancer, Target: vip.String()}}}
}

// behind lists the Nodes that a load balancer should find healthy for a row's VIP: all that it may forward to, under
// externalTrafficPolicy Local those with an endpoint.
func behind(s observe.Snapshot, r Row) []string {
	return slices.DeleteFunc(slices.Clone(s.Behind), func(node string) bool {
		return r.Local() && !slices.Contains(s.Services[r.To.Name].Nodes, node)
	})
}

// judgeBalancer compares the Nodes that the load balancer of a VIP forwards to, by each of its ports; nothing where it
// was not asked.
func judgeBalancer(s observe.Snapshot, r Row, vip netip.Addr, got Answers) []report.Property {
	answer, asked := got[PartBalancer]
	if !asked {
		return nil
	}
	want := cmp.Or(strings.Join(behind(s, r), " "), "none")
	p := report.Property{Key: report.KeyHealthy, Name: "healthy Nodes behind the load balancer", Expected: want, Observed: Said(answer)}
	if answer.Outcome == agent.Reply && len(answer.Answers) > 0 && answer.Answers[0].Balancer != nil {
		state := *answer.Answers[0].Balancer
		p.Observed, p.OK = want, true
		b, _ := state.Find(vip)
		for _, l := range b.Listeners {
			if names := healthyBy(s.Plan, state, l); names != want {
				p.Observed, p.OK = fmt.Sprintf("%s, for port %d/%s by %s", names, l.Port, l.Protocol, l.Check), false
			}
		}
	}
	return []report.Property{p}
}

// healthyBy names the Nodes that a listener forwards to, in the order of the plan.
func healthyBy(plan topology.Plan, state balancer.State, l balancer.Listener) string {
	var names []string
	for _, m := range plan.Nodes() {
		if slices.ContainsFunc(state.Healthy(l), func(n balancer.Node) bool { return n.Name == m.Name }) {
			names = append(names, m.Name)
		}
	}
	return cmp.Or(strings.Join(names, " "), "none")
}

// balancerIP is the source address of what the load balancer outside the cluster forwards; false where Nodes
// announce VIPs.
func balancerIP(s observe.Snapshot) (ip string, external bool) {
	host, external := s.Plan.External()
	if !external {
		return "", false
	}
	return s.SourceIP(host.Name, s.Plan.Nodes()[0].Address()), true
}

// unhealthy: the load balancer outside the cluster forwards to other Nodes than it should.
func unhealthy(c Case) string {
	for _, p := range c.Finding.Properties {
		if p.Key == report.KeyHealthy && !p.OK {
			return fmt.Sprintf("%s: expected %s, observed %s", p.Name, p.Expected, p.Observed)
		}
	}
	return ""
}
