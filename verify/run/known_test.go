package run

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// patient verifies all paths with a patience that no test has: only what the cluster's state explains
// ends before it. The controls of policies fail if dead.
func patient(t *testing.T, plan topology.Plan, support components.Support, s observe.State, dead bool, upset func(string, agent.Probe, *agent.Result) *agent.Result) []*attempt {
	t.Helper()
	w := observetest.Snapshot(plan, support, s)
	n := observetest.Network{W: w, Upset: upset}
	ask := func(_ context.Context, from observe.Station, probes []agent.Probe) ([]agent.Result, error) {
		return n.Ask(from, probes), nil
	}
	r := verification{snapshot: w, settle: time.Hour, ask: ask, on: &enforcement{w: w, dead: dead},
		facts: func() checks.Facts { return checks.FactsOf(w, s) }}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	rows := r.all(ctx, checks.Rows(plan, support))
	if ctx.Err() != nil {
		for _, x := range rows {
			if x.Finding.Failed() && !r.known(x.Judged) {
				t.Errorf("tried for ever: %s %s → %s: %s", x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.Finding.Reason)
			}
		}
		t.FailNow()
	}
	checks.Explain(ctx, w, func(context.Context) observe.State { return s }, r.reaches, judgedOf(rows))
	return rows
}

// What a policy of the user's forbids is tried once, path or control of a policy, and names it.
func TestDeniedIsKnown(t *testing.T) {
	t.Parallel()
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	for _, namespace := range []string{"netlab-verify", "netlab-verify-guests", "kube-system", "ingress-nginx"} {
		s.Policies = append(s.Policies, observe.NetworkPolicy(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default-deny"},
			Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}}}))
	}
	support := plantest.Enforcing()
	support.L7Policy = false
	w := observetest.Snapshot(plan, support, s)
	own := map[string]bool{"127.0.0.1": true} // what goes on under default-deny: within a Pod, and to Nodes from Nodes and outside
	for _, n := range plan.Nodes() {
		own[n.Address().String()] = true
	}
	rows := patient(t, plan, support, s, true, func(from string, p agent.Probe, r *agent.Result) *agent.Result {
		pod, isPod := w.Pods.Pod(from)
		host := targetAddress(p)
		open := host == "127.0.0.1" || own[host] && (!isPod || pod.HostNetwork) && !strings.Contains(p.Target, ":3") || p.Kind == agent.ARP || p.Kind == agent.Bind
		if open || strings.HasSuffix(p.Target, ":29640/") && (!isPod || pod.HostNetwork) {
			return r
		}
		lost := observetest.Silence(agent.Timeout, "i/o timeout")
		return &lost
	})
	denied := 0
	for _, x := range rows {
		if !x.Finding.Failed() {
			continue
		}
		denied++
		if x.tries != 1 || !strings.Contains(x.Finding.Reason, "NetworkPolicy ") || strings.Contains(x.Finding.Reason, "lost") {
			t.Errorf("%s %s → %s, %d tries: %s", x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.tries, x.Finding.Reason)
		}
	}
	if denied < 60 {
		t.Errorf("only %d rows fail", denied)
	}
}

// A Node whose object was deleted, or that is not Ready, is the reason on every path from and to it.
func TestNodeAwayIsKnown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*observe.State)
		want   string
	}{
		"deleted": {func(s *observe.State) {
			s.Nodes = slices.DeleteFunc(s.Nodes, func(n *corev1.Node) bool { return n.Name == "w1" })
		}, "Node w1 is not registered"},
		"not Ready": {func(s *observe.State) {
			s.Node("w1").Status.Conditions[0] = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: "container runtime is down"}
			for _, p := range s.Pods {
				if p.Spec.NodeName == "w1" && p.Namespace != "metallb-system" {
					p.Status.Conditions = nil
				}
			}
		}, "Node w1 is not Ready: KubeletNotReady: container runtime is down"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := plantest.Plan(t, "quickstart")
			s := observetest.Healthy(plan)
			c.change(&s)
			failed, policies := 0, 0
			for _, x := range patient(t, plan, plantest.Flannel(), s, false, withoutMachine(plan, "w1")) {
				if !x.Finding.Failed() {
					continue
				}
				failed++
				if x.Row.Policy() != nil {
					policies++
				}
				if x.tries != 1 || !strings.Contains(x.Finding.Reason, c.want) || strings.Contains(x.Finding.Reason, "lost") {
					t.Errorf("%s %s → %s, %d tries: %s: %s", x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.tries, x.Finding.Outcome, x.Finding.Reason)
				}
			}
			if failed < 30 || policies < 3 {
				t.Errorf("only %d rows fail, %d of them policies", failed, policies)
			}
		})
	}
}

// Agents that the cluster refuses are named at once: also where they would only answer a control,
// and where a policy needs them.
func TestRefusedIsKnown(t *testing.T) {
	t.Parallel()
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	refused := []string{"node-w1", checks.PolicyDefaultDeny}
	s.Refused = map[string]string{}
	for _, name := range refused {
		s.Refused["pods/netlab-verify/"+name] = "Namespace netlab-verify refuses it by its label pod-security.kubernetes.io/enforce=restricted"
	}
	s.Pods = slices.DeleteFunc(s.Pods, func(p *corev1.Pod) bool { return slices.Contains(refused, p.Name) })
	w1, _ := plan.Machine("w1")
	broken := 0
	for _, x := range patient(t, plan, plantest.Flannel(), s, false, func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
		if strings.Contains(p.Target, w1.Address().String()+":29640") {
			none := observetest.Silence(agent.Refused, "connection refused")
			return &none
		}
		return r
	}) {
		if !x.Finding.Failed() {
			continue
		}
		broken++
		if x.tries != 1 || !strings.Contains(x.Finding.Reason, "pod-security.kubernetes.io/enforce=restricted") {
			t.Errorf("%s %s → %s, %d tries: %s: %s", x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.tries, x.Finding.Outcome, x.Finding.Reason)
		}
	}
	if broken < 8 {
		t.Errorf("only %d rows are broken", broken)
	}
}

// An agent that went away while paths were probed is the reason, and not the network.
func TestAgentGone(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	then, now := observetest.Healthy(plan), observetest.Healthy(plan)
	evicted := now.Pod("netlab-verify", "echo-w2")
	evicted.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}
	w := observetest.Snapshot(plan, plantest.Flannel(), then)
	gone := 0
	for _, row := range checks.Rows(plan, plantest.Flannel()) {
		if row.ID != checks.PodToPodCrossNode && row.ID != checks.PodToClusterIP && row.ID != checks.OutsideToIngressHTTP {
			continue
		}
		x := &checks.Judged{Row: row, Finding: checks.Finding{Outcome: report.Fail, Reason: "no reply in time", Nodes: []string{"w1", "w2"}}}
		checks.Explain(t.Context(), w, func(context.Context) observe.State { return now }, func(context.Context, string, string) (bool, bool) { return false, true }, []*checks.Judged{x})
		const want = "agent Pod echo-w2 on w2 is not ready: Evicted: The node was low on resource: memory."
		if said := strings.Contains(x.Finding.Reason, want); said {
			gone++
		} else if row.To.Name == "echo-w2" || row.From.Name == "echo-w2" || row.ID == checks.PodToClusterIP {
			t.Errorf("%s %s → %s: %s", row.ID, row.From.Name, row.To.Name, x.Finding.Reason)
		}
	}
	if gone < 8 {
		t.Errorf("only %d rows say so", gone)
	}
}
