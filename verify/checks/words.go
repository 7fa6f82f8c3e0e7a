package checks

import (
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Said puts what became of a probe into words.
func Said(r agent.Result) string {
	switch r.Outcome {
	case agent.Reply:
		return "a reply"
	case agent.Refused:
		return "refused (" + r.Error + ")"
	case agent.Timeout:
		if strings.Contains(r.Error, "ARP") {
			return r.Error
		}
		return "no reply in time"
	case agent.Unreachable:
		return "unreachable (" + r.Error + ")"
	case "":
		return "not asked"
	}
	return r.Outcome + ": " + r.Error
}

// MedianRTT is the middle one of the answered repetitions, in µs.
func MedianRTT(r agent.Result) int64 {
	var all []int64
	for _, a := range r.Answers {
		if a.Outcome == agent.Reply {
			all = append(all, a.RTTMicros)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// dnsValues gives the sorted values of one type in a DNS answer, or why there are none.
func dnsValues(r agent.Result, kind string) string {
	if r.Outcome != agent.Reply || len(r.Answers) == 0 || r.Answers[0].DNS == nil {
		return Said(r)
	}
	values := r.Answers[0].DNS.Values(kind)
	if len(values) == 0 {
		return r.Answers[0].DNS.Code
	}
	return strings.Join(values, " ")
}

func PoolText(plan topology.Plan) string {
	var out []string
	for _, p := range plan.LoadBalancer.Pools {
		out = append(out, fmt.Sprintf("%s-%s", p.First, p.Last))
	}
	return strings.Join(out, ", ")
}

func sorted(set map[string]bool) []string {
	var out []string
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// nodesText names the Nodes of some Pods, each once.
func nodesText(w observe.Snapshot, pods []string) string {
	nodes := map[string]bool{}
	for _, p := range pods {
		if n := w.NodeOfPod(p); n != "" {
			nodes[n] = true
		}
	}
	return strings.Join(sorted(nodes), ",")
}

// NodesOf lists the Nodes that packets of a path should touch.
func NodesOf(w observe.Snapshot, p Row) []string {
	set := map[string]bool{p.From.Node: true, p.To.Node: true}
	switch p.To.Kind {
	case report.AtService, report.AtNodePort, report.AtVIP:
		for _, pod := range w.Services[p.To.Name].Ready {
			set[w.NodeOfPod(pod)] = true
		}
	case report.AtIngress:
		for _, n := range w.Ingress.Nodes {
			set[n] = true
		}
		for _, r := range workload.IngressRoutes() {
			if r.Host+r.Path == p.To.Name {
				for _, pod := range w.Services[r.Service].Ready {
					set[w.NodeOfPod(pod)] = true
				}
			}
		}
	}
	delete(set, "")
	return sorted(set)
}
