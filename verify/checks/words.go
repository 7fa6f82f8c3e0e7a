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

// Said describes the result of a probe.
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
		return "not probed"
	}
	return r.Outcome + ": " + r.Error
}

// MedianRTT is the median over the answered repetitions, in µs.
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

// poolText lists pools.
func poolText(pools []topology.Pool) string {
	var out []string
	for _, p := range pools {
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

// nodesText lists the Nodes of some Pods, each once.
func nodesText(s observe.Snapshot, pods []string) string {
	nodes := map[string]bool{}
	for _, p := range pods {
		if n := s.NodeOfPod(p); n != "" {
			nodes[n] = true
		}
	}
	return strings.Join(sorted(nodes), ",")
}

// NodesOf lists the Nodes that packets of a path should pass.
func NodesOf(s observe.Snapshot, r Row) []string {
	set := map[string]bool{r.From.Node: true, r.To.Node: true}
	for _, b := range s.Ends[r.To].Behind {
		set[b.Machine] = true
	}
	switch r.To.Kind {
	case report.AtService, report.AtNodePort, report.AtVIP, report.AtName: // a name may be a headless Service
		for _, n := range s.Services[r.To.Name].Nodes {
			set[n] = true
		}
	case report.AtIngress:
		for _, n := range s.Ingress.Nodes {
			set[n] = true
		}
		for _, route := range workload.IngressRoutes() {
			if route.Host+route.Path == r.To.Name {
				for _, pod := range s.Services[route.Service].Ready {
					set[s.NodeOfPod(pod)] = true
				}
			}
		}
	}
	delete(set, "")
	return sorted(set)
}
