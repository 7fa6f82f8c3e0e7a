package checks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Explain adds to each failed path's reason the likely culprit, from what the other paths
// did and from what the cluster says of itself. It changes no outcome.
func Explain(ctx context.Context, w observe.Snapshot, look func(context.Context) observe.State, reaches func(ctx context.Context, from, to string) (reached, asked bool), rows []*Judged) {
	failed := slices.DeleteFunc(slices.Clone(rows), func(x *Judged) bool {
		return x.Finding.Outcome == report.Pass || x.Finding.Outcome == report.Skip
	})
	if len(failed) == 0 {
		return
	}
	s := look(ctx)
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
		why := nodesTrouble(s, x.Finding.Nodes)
		switch {
		case why != "" || x.Row.Expected == report.Unreachable:
		case x.Finding.Outcome == report.Fail:
			why = culprit(w, s, pairs, x)
		case x.Row.Expected != report.Reachable: // a policy whose control failed
			why = lostBetween(pairs, x.Finding.Nodes)
		}
		x.Finding.Reason = observe.Join(x.Finding.Reason, why)
	}
}

// culprit names what most likely broke a path: the nearest cause first.
func culprit(w observe.Snapshot, s observe.State, pairs []lostPair, x *Judged) string {
	switch x.Row.ID {
	case DNSService, DNSExternal, PodToHeadless, PodToExternalName:
		if why := w.Unmet["dns"]; why != "" {
			return why
		}
	case OutsideToLoadBalancer, OutsideToIngressHTTP, OutsideToIngressHTTPS:
		if why := frontCulprit(w, s, x); why != "" {
			return why
		}
	}
	if x.Row.To.Kind == report.AtService || x.Row.To.Kind == report.AtNodePort || x.Row.To.Kind == report.AtVIP {
		if why := w.Unmet["service/"+x.Row.To.Name]; why != "" {
			return why
		}
	}
	touched := x.Finding.Nodes
	if x.Row.Protocol == "dns" || x.Row.To.Kind == report.AtName {
		for _, pod := range s.Ready("kube-system", "kube-dns") {
			if p := s.Pod("kube-system", pod); p != nil {
				touched = append(touched, p.Spec.NodeName)
			}
		}
	}
	if why := lostBetween(pairs, touched); why != "" {
		return why
	}
	return proxyTrouble(s, x)
}

// lostBetween is the first lost pair among some Nodes, in words.
func lostBetween(pairs []lostPair, nodes []string) string {
	for _, p := range pairs {
		if slices.Contains(nodes, p.a) && slices.Contains(nodes, p.b) {
			return p.String()
		}
	}
	return ""
}

// frontCulprit is about what stands before the Services: the load balancer and the
// ingress controller.
func frontCulprit(w observe.Snapshot, s observe.State, x *Judged) string {
	lb := func() string {
		if w.Plan.LoadBalancer.Name != "metallb" || vip(w, x.Row) == "" {
			return ""
		}
		return cmp.Or(s.MetalLB("speaker"), s.Excluded())
	}
	if x.Row.ID == OutsideToLoadBalancer {
		return lb()
	}
	if why := w.Unmet["ingress"]; why != "" {
		return why
	}
	for _, r := range workload.IngressRoutes() {
		if r.Host+r.Path != x.Row.To.Name {
			continue
		}
		if len(w.Services[r.Service].Ready) == 0 {
			return fmt.Sprintf("ingress backend %s", cmp.Or(w.Unmet["service/"+r.Service], "Service "+r.Service+" has no ready endpoints"))
		}
	}
	return lb()
}

// lostPair is two Nodes between whose Pods nothing passes.
type lostPair struct {
	a, b  string
	scope string
}

func (p lostPair) String() string {
	return fmt.Sprintf("packets between %s and %s are lost%s", p.a, p.b, p.scope)
}

// lostPairs finds the pairs of Nodes of which every cross-node path failed, in both
// directions, while inside each of the two Nodes Pods do reach each other.
func lostPairs(rows []*Judged) []lostPair {
	inside := map[string]bool{}
	type count struct{ all, failed int }
	between := map[[2]string]count{}
	var order [][2]string
	for _, x := range rows {
		switch x.Row.ID {
		case PodToPodSameNode:
			inside[x.Row.From.Node] = x.Finding.Outcome == report.Pass
		case PodToPodCrossNode:
			key := [2]string{x.Row.From.Node, x.Row.To.Node}
			if key[1] < key[0] {
				key[0], key[1] = key[1], key[0]
			}
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
		if c.all > 0 && c.failed == c.all && inside[key[0]] && inside[key[1]] {
			out = append(out, lostPair{a: key[0], b: key[1]})
		}
	}
	return out
}

// nodesTrouble names the first of some Nodes that is not Ready.
func nodesTrouble(s observe.State, nodes []string) string {
	for _, name := range nodes {
		if n := s.Node(name); n != nil {
			if t := observe.NodeTrouble(n); t != "" {
				return t
			}
		}
	}
	return ""
}

// proxyTrouble names a kube-proxy that is not ready on a Node that had to translate.
func proxyTrouble(s observe.State, x *Judged) string {
	node := x.Row.From.Node
	switch x.Row.To.Kind {
	case report.AtNodePort:
		node = x.Row.To.Node
	case report.AtService, report.AtName, report.AtVIP:
	default:
		return ""
	}
	for _, p := range s.Pods {
		if p.Namespace != "kube-system" || p.Labels["k8s-app"] != "kube-proxy" {
			continue
		}
		if (node == "" || p.Spec.NodeName == node) && !observe.PodReady(p) {
			return strings.TrimSpace(fmt.Sprintf("kube-proxy on %s is not ready: %s", p.Spec.NodeName, observe.ContainerTrouble(p)))
		}
	}
	return ""
}
