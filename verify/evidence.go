package verify

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// said puts what became of a probe into words.
func said(r agent.Result) string {
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

// medianRTT is the middle one of the answered repetitions, in µs.
func medianRTT(r agent.Result) int64 {
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
		return said(r)
	}
	values := r.Answers[0].DNS.Values(kind)
	if len(values) == 0 {
		return r.Answers[0].DNS.Code
	}
	return strings.Join(values, " ")
}

func poolText(plan topology.Plan) string {
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
func (w world) nodesText(pods []string) string {
	nodes := map[string]bool{}
	for _, p := range pods {
		if n := w.nodeOfPod(p); n != "" {
			nodes[n] = true
		}
	}
	return strings.Join(sorted(nodes), ",")
}

// nodesOf lists the Nodes that packets of a path should touch.
func (w world) nodesOf(p Path) []string {
	set := map[string]bool{p.From.Node: true, p.To.Node: true}
	switch p.To.Kind {
	case AtService, AtNodePort, AtVIP:
		for _, pod := range w.services[p.To.Name].Ready {
			set[w.nodeOfPod(pod)] = true
		}
	case AtIngress:
		for _, n := range w.ingress.Nodes {
			set[n] = true
		}
		for _, r := range ingressRoutes() {
			if r.Host+r.Path == p.To.Name {
				for _, pod := range w.services[r.Service].Ready {
					set[w.nodeOfPod(pod)] = true
				}
			}
		}
	}
	delete(set, "")
	return sorted(set)
}

// end gives the report's form of a Ref.
func (w world) end(r Ref, protocol string) End {
	e := End{Kind: r.Kind, Name: r.Name, Node: r.Node}
	switch r.Kind {
	case "":
	case AtContainer:
		e.Name, e.IP = r.Name+"/second", w.podIPs[r.Name]
	case AtNodePort:
		e.Name = r.Name + "@" + r.Node
		e.IP = w.machineIP(r.Node)
	case AtNode, AtHost:
		e.IP = w.machineIP(r.Name)
	case AtPod:
		e.IP = w.podIPs[r.Name]
	default:
		if _, ip, err := w.address(r, protocol); err == nil {
			if _, err := netip.ParseAddr(ip); err == nil {
				e.IP = ip
			}
		}
	}
	return e
}
