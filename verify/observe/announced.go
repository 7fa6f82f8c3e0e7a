package observe

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
)

// announced returns the prefixes of VIPs that each Node should announce to routers, of all Services of the
// cluster: every Node that is not excluded announces those with a ready endpoint, under
// externalTrafficPolicy Local those with one on the Node. It is nil where VIPs are not announced to
// routers.
func (s State) announced(plan topology.Plan, support components.Support) topology.Announced {
	if plan.LoadBalancer.BGP == nil {
		return nil
	}
	out := topology.Announced{}
	for _, x := range s.Services {
		vip, err := netip.ParseAddr(VIPOf(x))
		if err != nil || !plan.LoadBalancer.Contains(vip) {
			continue
		}
		service := serviceOf(x, s)
		for _, m := range plan.Nodes() {
			here := len(service.Ready) > 0
			if x.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
				here = slices.Contains(service.Nodes, m.Name)
			}
			if here && s.announces(m.Name, support) {
				out[m.Name] = append(out[m.Name], plan.LoadBalancer.BGP.Announced(vip))
			}
		}
	}
	for node, vips := range out {
		slices.SortFunc(vips, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		out[node] = slices.Compact(vips) // Services may share one, or its prefix
	}
	return out
}

// strange returns the VIPs of Services that lie in no pool of the lab: of the user's own pools, which
// may be announced too.
func (s State) strange(plan topology.Plan) (vips []netip.Prefix) {
	for _, x := range s.Services {
		if vip, err := netip.ParseAddr(VIPOf(x)); err == nil && !plan.LoadBalancer.Contains(vip) {
			vips = append(vips, netip.PrefixFrom(vip, vip.BitLen()))
		}
	}
	return vips
}

// balanced lists the Nodes that a load balancer outside the cluster may forward to; none where Nodes announce
// VIPs themselves.
func (s State) balanced(plan topology.Plan, support components.Support) (nodes []string) {
	if _, external := plan.External(); !external {
		return nil
	}
	for _, m := range plan.Nodes() {
		if s.announces(m.Name, support) {
			nodes = append(nodes, m.Name)
		}
	}
	return nodes
}

// announces reports whether a Node may announce VIPs, or be behind a load balancer.
func (s State) announces(node string, support components.Support) bool {
	i := slices.IndexFunc(s.Nodes, func(n *corev1.Node) bool { return n.Name == node })
	if i < 0 || slices.Contains(s.Off, node) {
		return false
	}
	if _, labelled := s.Nodes[i].Labels[corev1.LabelNodeExcludeBalancers]; labelled && support.VIPs.ExcludesNodes {
		return false
	}
	return !slices.ContainsFunc(s.Nodes[i].Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue
	})
}
