package checks_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// TestNoControl: a row that must be silent, whose control nobody can answer, says why.
func TestNoControl(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	s.Refused = map[string]string{"pods/netlab-verify/node-w1": "ResourceQuota netlab-verify/few refuses it"}
	s.Pods = slices.DeleteFunc(s.Pods, func(p *corev1.Pod) bool { return p.Name == "node-w1" })
	explained := false
	for _, r := range checks.Rows(plan, plantest.Flannel()) {
		if r.ID != checks.OutsideToPod || r.To.Node != "w1" {
			continue
		}
		x := &checks.Judged{Row: r, Finding: checks.Finding{Outcome: report.Broken, Reason: "inconclusive"}}
		checks.Explain(t.Context(), observetest.Snapshot(plan, plantest.Flannel(), s), func(context.Context) observe.State { return s },
			func(context.Context, string, string) (bool, bool) { return true, true }, []*checks.Judged{x})
		explained = true
		if !strings.Contains(x.Finding.Reason, "ResourceQuota netlab-verify/few refuses it") {
			t.Errorf("the reason is %q", x.Finding.Reason)
		}
	}
	if !explained {
		t.Error("no row was explained")
	}
}

// TestDeniedByPolicy: what a policy of the user's forbids is explained by that policy, and never
// by lost packets; a policy that allows the packets, or selects others, explains nothing.
func TestDeniedByPolicy(t *testing.T) {
	both := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	deny := func(namespace string, change func(*networkingv1.NetworkPolicySpec)) observe.Policy {
		n := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default-deny"}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: both}}
		if change != nil {
			change(&n.Spec)
		}
		return observe.NetworkPolicy(n)
	}
	ofCNI := func(kind string, spec map[string]any) observe.Policy {
		return observe.PoliciesOfCNI(unstructured.Unstructured{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": "lockdown"}, "spec": spec}})[0]
	}
	ingressOnly := func(s *networkingv1.NetworkPolicySpec) { s.PolicyTypes = both[:1] }
	allow := func(protocol corev1.Protocol, port any, end int32) observe.Policy {
		return deny("netlab-verify", func(s *networkingv1.NetworkPolicySpec) {
			ingressOnly(s)
			x := networkingv1.NetworkPolicyPort{Protocol: &protocol}
			if p, given := port.(intstr.IntOrString); given {
				x.Port = &p
			}
			if end != 0 {
				x.EndPort = &end
			}
			s.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{x}}}
		})
	}
	number, name := intstr.FromInt32, intstr.FromString
	const denied = "NetworkPolicy netlab-verify/default-deny does not let this into echo-"
	for _, c := range []struct {
		name, id, to string
		policies     []observe.Policy
		want         string // "" for lost packets, or nothing where a path has no second Node
	}{
		{"UDP alone is allowed, of a path over UDP", checks.PodToClusterIPUDP, "echo", []observe.Policy{allow(corev1.ProtocolUDP, number(agent.PortUDP), 0)}, ""},
		{"UDP alone is allowed, of one over TCP", checks.PodToClusterIP, "echo", []observe.Policy{allow(corev1.ProtocolUDP, nil, 0)}, denied},
		{"a port of TCP is allowed, of a path over UDP", checks.PodToClusterIPUDP, "echo", []observe.Policy{allow(corev1.ProtocolTCP, number(agent.PortHTTP), 0)}, denied},
		{"a port of TCP is allowed, of one over TCP", checks.PodToClusterIP, "echo", []observe.Policy{allow(corev1.ProtocolTCP, number(agent.PortHTTP), 0)}, ""},
		{"HTTP is allowed, of a path that measures the MTU too", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{allow(corev1.ProtocolTCP, number(agent.PortHTTP), 0)}, denied},
		{"a range with the port", checks.PodToClusterIP, "echo", []observe.Policy{allow(corev1.ProtocolTCP, number(8000), agent.PortHTTP)}, ""},
		{"a range below the port", checks.PodToClusterIP, "echo", []observe.Policy{allow(corev1.ProtocolTCP, number(8000), agent.PortHTTP-1)}, denied},
		{"the port by its name", checks.PodToClusterIP, "echo", []observe.Policy{allow(corev1.ProtocolTCP, name(workload.PortName), 0)}, ""},
		{"another name", checks.PodToClusterIP, "echo", []observe.Policy{allow(corev1.ProtocolTCP, name("metrics"), 0)}, denied},
		{"into what a name stands for, of a lookup", checks.DNSService, "echo", []observe.Policy{deny("netlab-verify", ingressOnly)}, ""},
		{"everywhere", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{deny("netlab-verify", nil)}, "NetworkPolicy netlab-verify/default-deny lets nothing out of echo-w1"},
		{"ingress alone", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{deny("netlab-verify", ingressOnly)}, "NetworkPolicy netlab-verify/default-deny lets nothing into echo-w2"},
		{"a Service", checks.PodToClusterIP, "echo", []observe.Policy{deny("netlab-verify", ingressOnly)}, "NetworkPolicy netlab-verify/default-deny lets nothing into echo-"},
		{"only DNS", checks.DNSService, "echo", []observe.Policy{deny("kube-system", ingressOnly)}, "NetworkPolicy kube-system/default-deny lets nothing into coredns-1"},
		{"only the ingress controller", checks.OutsideToIngressHTTP, "a.netlab.test/one", []observe.Policy{deny("ingress-nginx", nil)}, "NetworkPolicy ingress-nginx/default-deny lets nothing into ingress-nginx-controller-1"},
		{"a policy's control", checks.PolicyDefaultDeny, "policy-default-deny", []observe.Policy{deny("netlab-verify", ingressOnly)}, "NetworkPolicy netlab-verify/default-deny lets nothing into policy-default-deny"},
		{"Calico", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{ofCNI("GlobalNetworkPolicy", map[string]any{"selector": "all()", "types": []any{"Ingress", "Egress"}})}, "GlobalNetworkPolicy lockdown lets nothing out of echo-w1"},
		{"Cilium", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{ofCNI("CiliumClusterwideNetworkPolicy", map[string]any{
			"endpointSelector": map[string]any{"matchLabels": map[string]any{"k8s:netlab.dev/role": "echo"}}, "ingress": []any{map[string]any{}}})}, "CiliumClusterwideNetworkPolicy lockdown lets nothing into echo-w2"},

		{"another Namespace", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{deny("shop", nil)}, ""},
		{"one that allows it", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{deny("netlab-verify", ingressOnly), deny("netlab-verify", func(s *networkingv1.NetworkPolicySpec) {
			ingressOnly(s)
			s.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}}
		})}, ""},
		{"Calico, other Pods", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{ofCNI("GlobalNetworkPolicy", map[string]any{"selector": "app == 'web' && has(tier)"})}, ""},
		{"Cilium, other Pods", checks.PodToPodCrossNode, "echo-w2", []observe.Policy{ofCNI("CiliumClusterwideNetworkPolicy", map[string]any{
			"endpointSelector": map[string]any{"matchLabels": map[string]any{"k8s:app": "web"}}, "ingress": []any{}})}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := plantest.Plan(t, "quickstart")
			support := components.Support{NetworkPolicy: true}
			s := observetest.Healthy(plan)
			for _, p := range s.Pods {
				p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: workload.PortName, ContainerPort: agent.PortHTTP}}}}
			}
			s.Policies = c.policies
			var rows []*checks.Judged
			var asked *checks.Judged
			for _, r := range checks.Rows(plan, support) {
				x := &checks.Judged{Row: r, Finding: checks.Finding{Outcome: report.Pass, Nodes: []string{r.From.Node, r.To.Node}}}
				if r.ID == checks.PodToPodCrossNode { // as if the wire were cut, too
					x.Finding.Outcome = report.Fail
				}
				if r.ID == c.id && r.To.Name == c.to && (asked == nil || r.From.Node == "w1" && asked.Row.From.Node != "w1") {
					asked = x
				}
				rows = append(rows, x)
			}
			if asked == nil {
				t.Fatalf("no row %s to %s", c.id, c.to)
			}
			asked.Finding.Outcome = report.Fail
			if asked.Row.Policy() != nil {
				asked.Finding.Outcome = report.Broken
			}
			checks.Explain(t.Context(), observetest.Snapshot(plan, support, s), func(context.Context) observe.State { return s },
				func(context.Context, string, string) (bool, bool) { return true, true }, rows)
			got := asked.Finding.Reason
			lost := strings.Contains(got, "are lost") || c.id != checks.PodToPodCrossNode && got == ""
			if c.want != "" && (!strings.Contains(got, c.want) || strings.Contains(got, "lost")) || c.want == "" && !lost {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
