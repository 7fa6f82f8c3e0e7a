package checks

import (
	"net/http"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/workload"
)

// L7Path is the one path that the L7 policy lets through, by GET.
const L7Path = "/public"

// L7Rule is the rule that PolicyL7 proves of a plan. Whose object enforces it is the
// CNI's affair.
func L7Rule(plan topology.Plan) components.HTTPRule {
	subject := L7ScenarioOf(workload.PodsOf(plan)).Allowed.To
	return components.HTTPRule{Namespace: workload.Namespace, Name: PolicyL7, Label: workload.LabelPolicy, Value: subject.Name,
		Port: agent.PortHTTP, Method: http.MethodGet, Path: L7Path}
}

// L7Scenario is the L7 policy's legs: of one client to one Pod, on one port, so that nothing
// but the request tells them apart.
type L7Scenario struct {
	Denied  []Leg
	Allowed Leg
}

// L7ScenarioOf borrows the Pod of PolicyAllowPort, whose name is the value of its label.
func L7ScenarioOf(c workload.Pods) L7Scenario {
	from, to := observe.AtPod(c.Echo[len(c.Echo)-1]), observe.AtPod(c.Policy[indexOf(workload.PolicyIDs(), workload.PolicyAllowPort)])
	request := func(method, path string) Leg {
		return Leg{From: from, To: to, Kind: agent.HTTP, Method: method, Path: path}
	}
	return L7Scenario{
		Denied:  []Leg{request(http.MethodGet, "/private"), request(http.MethodPost, L7Path)},
		Allowed: request(http.MethodGet, L7Path),
	}
}

func (l Leg) Request() string { return l.Method + " " + l.Path }

// Scenario is one policy with the two legs that show its effect: one that it denies,
// and one that it must leave alone.
type Scenario struct {
	Policy          *networkingv1.NetworkPolicy
	Denied, Allowed Leg
}

// Leg is one connection between two agents.
type Leg struct {
	From, To     observe.Ref
	Kind         string // http or tcp: each has its own port
	Method, Path string // http; GET of / unless told
}

func ScenarioOf(id string, c workload.Pods) Scenario {
	subject := observe.AtPod(c.Policy[indexOf(workload.PolicyIDs(), id)])
	frontend, other := observe.AtPod(c.Echo[0]), observe.AtPod(c.Echo[len(c.Echo)-1])
	meta := workload.OwnMeta(workload.Namespace, id, nil)
	ingress := func(rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
		selector := metav1.LabelSelector{MatchLabels: map[string]string{workload.LabelPolicy: id}}
		return &networkingv1.NetworkPolicy{
			TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: meta,
			Spec: networkingv1.NetworkPolicySpec{PodSelector: selector, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: rules},
		}
	}
	from := func(peer networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{peer}}
	}
	switch id {
	case workload.PolicyAllowLabel:
		policy := ingress(from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{workload.LabelApp: "frontend"}}}))
		policy.Spec.PodSelector.MatchLabels = map[string]string{workload.LabelApp: "nginx"}
		return Scenario{policy, over(other, subject), over(frontend, subject)}
	case workload.PolicyAllowNamespace:
		policy := ingress(from(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
			MatchLabels: map[string]string{"kubernetes.io/metadata.name": workload.GuestsNamespace}}}))
		return Scenario{policy, over(other, subject), over(observe.AtPod(c.Visitor), subject)}
	case workload.PolicyAllowPort:
		port := intstr.FromInt32(agent.PortHTTP)
		policy := ingress(networkingv1.NetworkPolicyIngressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: &port}}})
		return Scenario{policy, Leg{From: other, To: subject, Kind: agent.TCP}, over(other, subject)}
	case workload.PolicyEgressDeny:
		policy := ingress()
		policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
		return Scenario{policy, over(subject, other), over(other, subject)}
	default: // PolicyDefaultDeny: no rule, so nothing enters; its neighbours are left alone
		return Scenario{ingress(), over(other, subject), over(other, frontend)}
	}
}

// over is a leg of HTTP.
func over(from, to observe.Ref) Leg { return Leg{From: from, To: to, Kind: agent.HTTP} }

func indexOf(all []string, one string) int {
	for i, s := range all {
		if s == one {
			return i
		}
	}
	return -1
}
