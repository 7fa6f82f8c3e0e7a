package checks

import (
	networkingv1 "k8s.io/api/networking/v1"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
)

// ipBlock is the entry of a policy of CIDRs with exceptions: in from the Pod CIDR except one
// Pod, out to everywhere except one outside host. It selects a Pod that is nobody's client.
func ipBlock() Check {
	return policyAfter(PolicyIPBlock, "only CIDRs may reach the Pod and be reached, with except; an ipBlock selects Pods where the CNI supports it", PolicyEgressDeny,
		func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
			in := peerBlock(s.Plan.Kubernetes.PodCIDR().String(), s.PodIPs[other(s).Name])
			n.Spec.Ingress = ingressFrom(in)
			denied = []Leg{leg(other(s), subject)}
			if pod := leg(frontend(s), subject); s.Support.IPBlockPods {
				allowed = append(allowed, pod)
			} else {
				denied = append(denied, pod)
			}
			hosts := outsideTargets(s.Plan, subject.Node)
			if len(hosts) > 0 {
				n.Spec.PolicyTypes = append(n.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
				out := peerBlock("0.0.0.0/0", s.Toward(subject, hosts[0].Name))
				n.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{out}}}
				denied = append(denied, leg(subject, observe.AtHost(hosts[0])))
			}
			if len(hosts) > 1 {
				allowed = append(allowed, leg(subject, observe.AtHost(hosts[1])))
			}
			if len(allowed) == 0 {
				allowed = []Leg{leg(other(s), frontend(s))} // other Pods are not affected
			}
			return denied, allowed
		})
}

// peerBlock is a CIDR except one address, which is unknown ("") while rows are derived.
func peerBlock(cidr, except string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: []string{except + "/32"}}}
}

// outsideTargets are the outside hosts that a Node reaches, the internet first.
func outsideTargets(plan topology.Plan, node string) []topology.Machine {
	var out []topology.Machine
	for _, role := range []string{topology.RoleInternet, topology.RoleClient} {
		for _, m := range plan.WithRole(role) {
			if _, way := topology.Nearest(plan, node, m.Addresses()); way.Reachable() {
				out = append(out, m)
			}
		}
	}
	return out
}
