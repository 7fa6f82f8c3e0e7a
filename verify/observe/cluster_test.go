package observe_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/workload"
)

// TestAwait: waiting follows the cluster with watches and ends as soon as nothing is
// missing, or immediately where waiting will not help.
func TestAwait(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	all := func(s observe.State) []runtime.Object {
		var out []runtime.Object
		for _, o := range s.Pods {
			out = append(out, o)
		}
		for _, o := range s.Services {
			out = append(out, o)
		}
		for _, o := range s.Slices {
			out = append(out, o)
		}
		for _, o := range s.Nodes {
			out = append(out, o)
		}
		for _, o := range s.Deployments {
			out = append(out, o)
		}
		return out
	}
	var off []string
	follow := func(s observe.State) (*observe.Cluster, *fake.Clientset) {
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		client := fake.NewClientset(all(s)...)
		c, err := observe.Follow(ctx, client, off)
		if err != nil {
			t.Fatal(err)
		}
		c.Installed = s.Installed
		return c, client
	}

	s := observetest.Healthy(plan)
	c, _ := follow(s)
	if got := c.Await(context.Background(), plan, checks.Pods(plan), time.Minute); len(got) != 0 {
		t.Errorf("healthy: %v", got)
	}

	late := observetest.Healthy(plan)
	pod := late.Pod(workload.Namespace, "echo-w2")
	ready := pod.DeepCopy()
	pod.Status.Conditions = nil
	c, client := follow(late)
	time.AfterFunc(100*time.Millisecond, func() {
		client.CoreV1().Pods(workload.Namespace).Update(context.Background(), ready, metav1.UpdateOptions{})
	})
	start := time.Now()
	if got := c.Await(context.Background(), plan, checks.Pods(plan), time.Minute); len(got) != 0 || time.Since(start) > 20*time.Second {
		t.Errorf("a Pod that comes late: %v after %s", got, time.Since(start))
	}

	zero := int32(0)
	futile := observetest.Healthy(plan)
	futile.Deployments[0].Spec.Replicas = &zero
	for _, slice := range futile.Slices {
		if slice.Namespace == "kube-system" {
			slice.Endpoints = nil
		}
	}
	c, _ = follow(futile)
	start = time.Now()
	if got := c.Await(context.Background(), plan, checks.Pods(plan), time.Minute); len(got) != 1 || got[0].What != "dns" || time.Since(start) > 10*time.Second {
		t.Errorf("CoreDNS scaled to zero: %v after %s", got, time.Since(start))
	}

	// A Node that is off is not waited for, whatever the cluster still believes of its Pods, nor are
	// the Pods of one whose kubelet is silent; those of one that is not Ready only briefly.
	off = []string{"w2"}
	c, _ = follow(observetest.Healthy(plan))
	start = time.Now()
	got := c.Await(context.Background(), plan, checks.Pods(plan), time.Minute)
	if len(got) == 0 || slices.ContainsFunc(got, func(l observe.Unmet) bool { return l.Why != "w2 is off" || !strings.HasPrefix(l.What, "pod/") }) || time.Since(start) > 3*time.Second {
		t.Errorf("w2 is off: %v after %s", got, time.Since(start))
	}
	off = nil
	silent := observetest.Healthy(plan)
	silent.Node("w2").Status.Conditions[0].Status = corev1.ConditionUnknown
	silent.Pod(workload.Namespace, "echo-w2").Status.Conditions = nil
	c, _ = follow(silent)
	start = time.Now()
	got = c.Await(context.Background(), plan, checks.Pods(plan), time.Minute)
	if len(got) != 1 || !strings.HasPrefix(got[0].Why, "Node w2 is not Ready") || time.Since(start) > 3*time.Second {
		t.Errorf("the kubelet of w2 is silent: %v after %s", got, time.Since(start))
	}
	unready := observetest.Healthy(plan)
	unready.Node("w2").Status.Conditions[0] = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Message: "container runtime is down"}
	unready.Pod(workload.Namespace, "echo-w2").Status.Conditions = nil
	c, _ = follow(unready)
	start = time.Now()
	got = c.Await(context.Background(), plan, checks.Pods(plan), time.Minute)
	if len(got) != 1 || got[0].Why != "Node w2 is not Ready: container runtime is down" || time.Since(start) > 10*time.Second {
		t.Errorf("w2 is not Ready: %v after %s", got, time.Since(start))
	}

	// A Node that was deleted is named, and not waited for.
	deleted := observetest.Healthy(plan)
	deleted.Nodes = slices.DeleteFunc(deleted.Nodes, func(n *corev1.Node) bool { return n.Name == "w2" })
	deleted.Pods = slices.DeleteFunc(deleted.Pods, func(p *corev1.Pod) bool { return p.Spec.NodeName == "w2" })
	c, _ = follow(deleted)
	start = time.Now()
	got = c.Await(context.Background(), plan, checks.Pods(plan), time.Minute)
	if why := "Node w2 is not registered"; time.Since(start) > 3*time.Second || !slices.ContainsFunc(got, func(l observe.Unmet) bool { return strings.HasPrefix(l.Why, why) }) {
		t.Errorf("w2 was deleted: %v after %s", got, time.Since(start))
	}

	// A load balancer that a policy keeps from the API server assigns no VIP: the policy is named,
	// and the wait ends, where the CNI enforces it.
	denied := observetest.Healthy(plan)
	denied.Service(workload.Namespace, workload.ServiceLB).Status.LoadBalancer.Ingress = nil
	for _, enforced := range []bool{true, false} {
		c, client = follow(denied)
		c.Enforced = enforced
		if _, err := client.NetworkingV1().NetworkPolicies("metallb-system").Create(context.Background(), &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "default-deny"},
			Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		got = c.Await(context.Background(), plan, checks.Pods(plan), 8*time.Second)
		named := len(got) == 1 && got[0].Why == "no VIP assigned to Service echo-lb: NetworkPolicy metallb-system/default-deny lets nothing out of metallb-controller-1"
		if took := time.Since(start); len(got) != 1 || named != enforced || (took < 7*time.Second) != enforced {
			t.Errorf("the load balancer is denied everything, enforced %t: %v after %s", enforced, got, took)
		}
	}

	stuck := observetest.Healthy(plan)
	stuck.Pod(workload.Namespace, "echo-w2").Status.Conditions = nil
	c, client = follow(stuck)
	client.CoreV1().Events(workload.Namespace).Create(context.Background(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, Type: corev1.EventTypeWarning,
		Reason: "FailedMount", Message: "no disk", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: workload.Namespace, Name: "echo-w2"}}, metav1.CreateOptions{})
	got = c.Await(context.Background(), plan, checks.Pods(plan), 100*time.Millisecond)
	if len(got) != 1 || !strings.Contains(got[0].Why, "FailedMount: no disk") {
		t.Errorf("a Pod that never comes: %v", got)
	}
}

// TestUnmet: the conditions that are waited for, and those that waiting cannot change.
func TestUnmet(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	if got := observe.UnmetOf(observetest.Healthy(plan), plan, checks.Pods(plan)); len(got) != 0 {
		t.Errorf("a healthy cluster has unmet conditions: %v", got)
	}
	empty := observe.UnmetOf(observe.State{Nodes: observetest.Healthy(plan).Nodes}, plan, checks.Pods(plan))
	want := len(checks.Pods(plan).All()) + len(workload.ServiceSpecs(plan)) + 2
	if len(empty) != want {
		t.Errorf("an empty cluster has %d unmet conditions, want %d: %v", len(empty), want, empty)
	}
	for _, l := range empty {
		if l.Futile || l.Why == "" {
			t.Errorf("an empty cluster: %+v", l)
		}
	}
}
