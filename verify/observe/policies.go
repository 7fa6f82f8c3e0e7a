package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/workload"
)

// Direction is that of packets, as a policy's Pod sees them.
type Direction string

// The directions of a policy.
const (
	Ingress Direction = "Ingress"
	Egress  Direction = "Egress"
)

// Policy is a policy of the user: a NetworkPolicy, or an object of the CNI.
type Policy struct {
	Kind, Namespace, Name string // Namespace is "" for a cluster-wide one
	selects               func(p *corev1.Pod, namespace map[string]string) bool
	types                 []Direction
	network               *networkingv1.NetworkPolicy // nil for an object of the CNI
	allows                map[Direction]bool          // whether an object of the CNI allows anything
}

func (p Policy) String() string {
	return p.Kind + " " + strings.TrimPrefix(p.Namespace+"/"+p.Name, "/")
}

// ofCNIs are the API paths of the CNIs' own policies; those that a lab lacks answer 404.
func ofCNIs() []string {
	return []string{
		"/apis/crd.projectcalico.org/v1/globalnetworkpolicies", "/apis/crd.projectcalico.org/v1/networkpolicies",
		"/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies", "/apis/cilium.io/v2/ciliumnetworkpolicies",
	}
}

// readPolicies adds the policies and the labels of Namespaces to a state. What cannot be read
// is left out: a reason is missing then, and no path is.
func (c *Cluster) readPolicies(ctx context.Context, s *State) {
	s.namespaces = map[string]map[string]string{}
	if all, err := c.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); err == nil {
		for _, n := range all.Items {
			s.namespaces[n.Name] = n.Labels
		}
	}
	if all, err := c.client.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{}); err == nil {
		for i := range all.Items {
			s.Policies = append(s.Policies, NetworkPolicy(&all.Items[i]))
		}
	}
	for _, path := range ofCNIs() {
		if c.Raw == nil {
			return
		}
		data, err := c.Raw(ctx, path)
		var list unstructured.UnstructuredList
		if err != nil || json.Unmarshal(data, &list) != nil {
			continue
		}
		for _, item := range list.Items {
			if _, own := item.GetLabels()[workload.LabelOwner]; !own && !strings.HasPrefix(item.GetName(), "knp.") { // Calico's copies of NetworkPolicies
				s.Policies = append(s.Policies, PoliciesOfCNI(item)...)
			}
		}
	}
}

// NetworkPolicy is a Policy of the Kubernetes API.
func NetworkPolicy(n *networkingv1.NetworkPolicy) Policy {
	p := Policy{Kind: "NetworkPolicy", Namespace: n.Namespace, Name: n.Name, network: n}
	for _, t := range n.Spec.PolicyTypes {
		p.types = append(p.types, Direction(t))
	}
	if _, own := n.Labels[workload.LabelOwner]; own {
		p.types = nil
	}
	p.selects = func(pod *corev1.Pod, _ map[string]string) bool {
		return pod.Namespace == n.Namespace && matches(&n.Spec.PodSelector, pod.Labels)
	}
	return p
}

func matches(selector *metav1.LabelSelector, of map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(of))
}

// PoliciesOfCNI are the Policies of an object of Calico or Cilium, one a spec.
func PoliciesOfCNI(item unstructured.Unstructured) []Policy {
	var out []Policy
	specs, _, _ := unstructured.NestedSlice(item.Object, "specs")
	for _, x := range append([]any{item.Object["spec"]}, specs...) {
		spec, ok := x.(map[string]any)
		if !ok {
			continue
		}
		p := Policy{Kind: item.GetKind(), Namespace: item.GetNamespace(), Name: item.GetName(), allows: map[Direction]bool{}}
		if strings.HasPrefix(p.Kind, "Cilium") {
			p.ofCilium(spec)
		} else {
			p.ofCalico(spec)
		}
		out = append(out, p)
	}
	return out
}

func (p *Policy) ofCilium(spec map[string]any) {
	for direction, key := range map[Direction]string{Ingress: "ingress", Egress: "egress"} {
		rules, given := spec[key].([]any)
		if denies, _ := spec[key+"Deny"].([]any); given || len(denies) > 0 {
			p.types = append(p.types, direction)
		}
		p.allows[direction] = slices.ContainsFunc(rules, func(r any) bool { rule, _ := r.(map[string]any); return len(rule) > 0 })
	}
	var selector metav1.LabelSelector
	text, _ := json.Marshal(spec["endpointSelector"])
	bare := regexp.MustCompile(`"(k8s|any)[:.]`).ReplaceAllString(string(text), `"`) // the source of a label
	err := json.Unmarshal([]byte(bare), &selector)
	p.selects = func(pod *corev1.Pod, _ map[string]string) bool {
		of := labels.Merge(labels.Set{"io.kubernetes.pod.namespace": pod.Namespace}, pod.Labels)
		return err == nil && spec["endpointSelector"] != nil && (p.Namespace == "" || p.Namespace == pod.Namespace) && matches(&selector, of)
	}
}

func (p *Policy) ofCalico(spec map[string]any) {
	types, _, _ := unstructured.NestedStringSlice(spec, "types")
	for direction, key := range map[Direction]string{Ingress: "ingress", Egress: "egress"} {
		rules, _ := spec[key].([]any)
		if slices.Contains(types, string(direction)) || len(types) == 0 && (direction == Ingress || len(rules) > 0) {
			p.types = append(p.types, direction)
		}
		p.allows[direction] = slices.ContainsFunc(rules, func(r any) bool { rule, _ := r.(map[string]any); return rule["action"] != "Deny" })
	}
	pods, _ := spec["selector"].(string)
	namespaces, _ := spec["namespaceSelector"].(string)
	p.selects = func(pod *corev1.Pod, namespace map[string]string) bool {
		of := labels.Merge(labels.Set{"projectcalico.org/namespace": pod.Namespace}, pod.Labels)
		return (p.Namespace == "" || p.Namespace == pod.Namespace) && calicoMatches(pods, of) && calicoMatches(namespaces, namespace)
	}
}

var calicoTerm = regexp.MustCompile(`^(has\(([^)]+)\)|([\w./-]+) *(==|!=) *['"]([^'"]*)['"])$`)

// calicoMatches evaluates a selector of Calico that is all(), a term, or terms joined by &&;
// any other is taken to match, since it may.
func calicoMatches(selector string, of map[string]string) bool {
	for _, term := range strings.Split(selector, "&&") {
		m := calicoTerm.FindStringSubmatch(strings.TrimSpace(term))
		if m == nil {
			continue
		}
		value, has := of[m[3]]
		if m[2] != "" {
			_, has = of[m[2]]
		}
		if m[2] != "" && !has || m[4] == "==" && (!has || value != m[5]) || m[4] == "!=" && has && value == m[5] {
			return false
		}
	}
	return true
}

// Port is a port of the receiver of packets.
type Port struct {
	Protocol corev1.Protocol
	Number   int
}

// in reports whether a port of a NetworkPolicy is or has this one; a name may, where the receiver
// is not a Pod.
func (p Port) in(x networkingv1.NetworkPolicyPort, receiver *corev1.Pod) bool {
	protocol := corev1.ProtocolTCP
	if x.Protocol != nil {
		protocol = *x.Protocol
	}
	switch {
	case protocol != p.Protocol:
		return false
	case x.Port == nil:
		return true
	case x.Port.Type == intstr.String:
		return receiver == nil || slices.ContainsFunc(receiver.Spec.Containers, func(c corev1.Container) bool {
			return slices.ContainsFunc(c.Ports, func(of corev1.ContainerPort) bool {
				return of.Name == x.Port.StrVal && int(of.ContainerPort) == p.Number
			})
		})
	case x.EndPort != nil:
		return x.Port.IntValue() <= p.Number && p.Number <= int(*x.EndPort)
	}
	return x.Port.IntValue() == p.Number
}

// Denial is which policy keeps packets from a Pod; the zero value: none does.
type Denial struct {
	Why  string
	Sure bool // no policy that selects the Pod may let them through
}

// Denied is which policy keeps packets between a Pod and a peer (nil: not a Pod) from the Pod, in
// one direction and to one port of the receiver.
func (s State) Denied(d Direction, pod, peer *corev1.Pod, port Port) Denial {
	if pod == nil || pod.Spec.HostNetwork {
		return Denial{}
	}
	var selecting, networks []Policy
	sure := true
	for _, p := range s.Policies {
		if slices.Contains(p.types, d) && p.selects(pod, s.namespaces[pod.Namespace]) {
			selecting = append(selecting, p)
			if p.network != nil {
				networks = append(networks, p)
			}
			sure = sure && (p.network != nil || !p.allows[d])
		}
	}
	way := map[Direction]string{Ingress: "into", Egress: "out of"}[d]
	receiver := map[Direction]*corev1.Pod{Ingress: pod, Egress: peer}[d]
	allowed := func(p Policy) bool { return s.allowed(p.network, d, peer, receiver, port) }
	if len(networks) > 0 && !slices.ContainsFunc(networks, allowed) {
		if networks[0].rules(d) == 0 {
			return Denial{fmt.Sprintf("%s lets nothing %s %s", networks[0], way, pod.Name), sure}
		}
		return Denial{fmt.Sprintf("%s does not let this %s %s", networks[0], way, pod.Name), sure}
	}
	for _, p := range selecting {
		if p.network == nil && !p.allows[d] {
			return Denial{fmt.Sprintf("%s lets nothing %s %s", p, way, pod.Name), sure && len(networks) == 0}
		}
	}
	for _, p := range selecting {
		if p.network == nil {
			return Denial{fmt.Sprintf("%s restricts what goes %s %s", p, way, pod.Name), false}
		}
	}
	return Denial{}
}

// cutOff is which policy keeps the Pods of a workload from the API server, without which they do
// nothing; "" if none does for sure.
func (s State) cutOff(w components.Workload, api netip.AddrPort) string {
	if !s.Enforced {
		return ""
	}
	for _, p := range s.PodsOf(w) {
		if d := s.Denied(Egress, p, nil, Port{Protocol: corev1.ProtocolTCP, Number: int(api.Port())}); d.Sure {
			return d.Why
		}
	}
	return ""
}

func (p Policy) rules(d Direction) int {
	if d == Ingress {
		return len(p.network.Spec.Ingress)
	}
	return len(p.network.Spec.Egress)
}

// allowed reports whether a rule of a NetworkPolicy allows a peer. A peer that is not a Pod is
// taken to be in every ipBlock.
func (s State) allowed(n *networkingv1.NetworkPolicy, d Direction, peer, receiver *corev1.Pod, port Port) bool {
	rule := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) bool {
		at := len(ports) == 0 || slices.ContainsFunc(ports, func(x networkingv1.NetworkPolicyPort) bool { return port.in(x, receiver) })
		return at && (len(peers) == 0 || slices.ContainsFunc(peers, func(x networkingv1.NetworkPolicyPeer) bool { return s.isPeer(n.Namespace, x, peer) }))
	}
	for _, r := range n.Spec.Ingress {
		if d == Ingress && rule(r.From, r.Ports) {
			return true
		}
	}
	for _, r := range n.Spec.Egress {
		if d == Egress && rule(r.To, r.Ports) {
			return true
		}
	}
	return false
}

func (s State) isPeer(namespace string, x networkingv1.NetworkPolicyPeer, peer *corev1.Pod) bool {
	if x.IPBlock != nil {
		return true
	}
	if peer == nil {
		return false
	}
	here := peer.Namespace == namespace
	if x.NamespaceSelector != nil {
		here = matches(x.NamespaceSelector, s.namespaces[peer.Namespace])
	}
	return here && (x.PodSelector == nil || matches(x.PodSelector, peer.Labels))
}
