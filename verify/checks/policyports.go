package checks

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/workload"
)

// namedPort is the entry of a policy that allows a port by the name that the Pod gives it.
func namedPort() Check {
	return policyAfter(PolicyNamedPort, "only a port of the Pod is allowed, by its name", PolicyDefaultDeny,
		func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
			port := intstr.FromString(workload.PortName)
			n.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &port}}}}
			return []Leg{{From: other(s), To: subject, Kind: agent.TCP}}, []Leg{leg(other(s), subject)}
		})
}

// portRange is the entry of a policy with an endPort: what it allows is the last port of the
// range, and what it denies is the next.
func portRange() Check {
	return policyAfter(PolicyPortRange, "only a range of ports is allowed, by endPort", PolicyAllowNamespace,
		func(s observe.Snapshot, subject observe.Ref, n *networkingv1.NetworkPolicy) (denied, allowed []Leg) {
			first, last := intstr.FromInt32(agent.PortHTTP-10), int32(agent.PortHTTP)
			n.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &first, EndPort: &last}}}}
			return []Leg{{From: other(s), To: subject, Kind: agent.TCP}}, []Leg{leg(other(s), subject)}
		})
}
