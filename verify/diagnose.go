package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// explain adds to each failed path's reason the likely culprit, from what the other paths
// did and from what the cluster says of itself. It changes no outcome.
func explain(ctx context.Context, w world, look func(context.Context) state, reaches func(ctx context.Context, from, to string) (reached, asked bool), rows []*row) {
	failed := slices.DeleteFunc(slices.Clone(rows), func(x *row) bool {
		return x.finding.Outcome == Pass || x.finding.Outcome == Skip
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
		why := s.nodesTrouble(x.finding.nodes)
		switch {
		case why != "" || x.path.Expected == Unreachable:
		case x.finding.Outcome == Fail:
			why = w.culprit(s, pairs, x)
		case x.path.Expected != Reachable: // a policy whose control failed
			why = lostBetween(pairs, x.finding.nodes)
		}
		x.finding.Reason = join(x.finding.Reason, why)
	}
}

// culprit names what most likely broke a path: the nearest cause first.
func (w world) culprit(s state, pairs []lostPair, x *row) string {
	switch x.path.ID {
	case DNSService, DNSExternal, PodToHeadless, PodToExternalName:
		if why := w.lacking["dns"]; why != "" {
			return why
		}
	case OutsideToLoadBalancer, OutsideToIngressHTTP, OutsideToIngressHTTPS:
		if why := w.frontCulprit(s, x); why != "" {
			return why
		}
	}
	if x.path.To.Kind == AtService || x.path.To.Kind == AtNodePort || x.path.To.Kind == AtVIP {
		if why := w.lacking["service/"+x.path.To.Name]; why != "" {
			return why
		}
	}
	touched := x.finding.nodes
	if x.path.Protocol == "dns" || x.path.To.Kind == AtName {
		for _, pod := range s.ready("kube-system", "kube-dns") {
			if p := s.pod("kube-system", pod); p != nil {
				touched = append(touched, p.Spec.NodeName)
			}
		}
	}
	if why := lostBetween(pairs, touched); why != "" {
		return why
	}
	return s.proxyTrouble(x)
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
func (w world) frontCulprit(s state, x *row) string {
	lb := func() string {
		if w.plan.LoadBalancer.Name != "metallb" || w.vip(x.path) == "" {
			return ""
		}
		return or(s.metalLB("speaker"), s.excluded())
	}
	if x.path.ID == OutsideToLoadBalancer {
		return lb()
	}
	if why := w.lacking["ingress"]; why != "" {
		return why
	}
	for _, r := range ingressRoutes() {
		if r.Host+r.Path != x.path.To.Name {
			continue
		}
		if len(w.services[r.Service].Ready) == 0 {
			return fmt.Sprintf("ingress backend %s", or(w.lacking["service/"+r.Service], "Service "+r.Service+" has no ready endpoints"))
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
func lostPairs(rows []*row) []lostPair {
	inside := map[string]bool{}
	type count struct{ all, failed int }
	between := map[[2]string]count{}
	var order [][2]string
	for _, x := range rows {
		switch x.path.ID {
		case PodToPodSameNode:
			inside[x.path.From.Node] = x.finding.Outcome == Pass
		case PodToPodCrossNode:
			key := [2]string{x.path.From.Node, x.path.To.Node}
			if key[1] < key[0] {
				key[0], key[1] = key[1], key[0]
			}
			c, seen := between[key]
			if !seen {
				order = append(order, key)
			}
			c.all++
			if x.finding.Outcome == Fail && x.finding.Observed.Backend == "" {
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
func (s state) nodesTrouble(nodes []string) string {
	for _, name := range nodes {
		if n := s.node(name); n != nil {
			if t := nodeTrouble(n); t != "" {
				return t
			}
		}
	}
	return ""
}

// proxyTrouble names a kube-proxy that is not ready on a Node that had to translate.
func (s state) proxyTrouble(x *row) string {
	node := x.path.From.Node
	switch x.path.To.Kind {
	case AtNodePort:
		node = x.path.To.Node
	case AtService, AtName, AtVIP:
	default:
		return ""
	}
	for _, p := range s.Pods {
		if p.Namespace != "kube-system" || p.Labels["k8s-app"] != "kube-proxy" {
			continue
		}
		if (node == "" || p.Spec.NodeName == node) && !podReady(p) {
			return strings.TrimSpace(fmt.Sprintf("kube-proxy on %s is not ready: %s", p.Spec.NodeName, containerTrouble(p)))
		}
	}
	return ""
}
