package providers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"netlab.dev/netlab/providers/applied"
)

// A kubelet is heard when it renews its lease after the start, by its own clock: one that lags is
// heard, and one that is ahead is not, for the lease that it left.
func TestUnsettledByTheNodesClock(t *testing.T) {
	began := time.Now()
	running := runningNodes("shared", "stale", "lags", "ahead", "mute")
	for i := range running.Plan.Machines {
		running.Plan.Machines[i].OwnKernel = slices.Contains([]string{"lags", "ahead", "mute"}, running.Plan.Machines[i].Name)
	}
	client := fake.NewClientset(slices.Concat(
		nodeObjects("shared", "10.244.0.0/24", corev1.ConditionTrue, -time.Second),
		nodeObjects("stale", "10.244.1.0/24", corev1.ConditionTrue, time.Minute),
		nodeObjects("lags", "10.244.2.0/24", corev1.ConditionTrue, time.Hour),
		nodeObjects("ahead", "10.244.3.0/24", corev1.ConditionTrue, -time.Hour),
		nodeObjects("mute", "10.244.4.0/24", corev1.ConditionTrue, -time.Second))...)
	beats := heartbeats{since: began, first: map[string]time.Time{}}
	waits := func() (names []string) {
		lines, _, err := unsettled(t.Context(), client, running, applied.Record{}, beats)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "the kubelet of Node "), " ")
			names = append(names, name)
		}
		return names
	}
	if got := waits(); fmt.Sprint(got) != "[stale lags ahead mute]" {
		t.Errorf("at first it waits for %v", got)
	}
	for _, name := range []string{"lags", "ahead"} {
		leases := client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
		l, err := leases.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l.Spec.RenewTime.Time = l.Spec.RenewTime.Add(10 * time.Second)
		if _, err := leases.Update(t.Context(), l, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if got := waits(); fmt.Sprint(got) != "[stale mute]" {
			t.Errorf("when two have renewed their leases it waits for %v", got)
		}
	}
}

// A start ends when the controllers have seen its Pods ready, or status would call the lab broken;
// a DaemonSet that somebody has disabled does not keep it from ending.
func TestUnsettledUntilWorkloadsAreAvailable(t *testing.T) {
	two := int32(2)
	dns := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: "kube-system"}, Spec: appsv1.DeploymentSpec{Replicas: &two},
		Status: appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 1}}
	proxy := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Namespace: "kube-system", Generation: 2},
		Status: appsv1.DaemonSetStatus{ObservedGeneration: 1}}
	record := applied.Record{Parts: []applied.Part{{Name: "bootstrap", Objects: []applied.Object{
		{Kind: "Deployment", Namespace: "kube-system", Name: "coredns", Awaited: true},
		{Kind: "DaemonSet", Namespace: "kube-system", Name: "kube-proxy", Awaited: true},
		{Kind: "DaemonSet", Namespace: "kube-system", Name: "deleted", Awaited: true},
	}}}}
	client := fake.NewClientset(dns, proxy)
	waits := func() []string {
		lines, _, err := unsettled(t.Context(), client, Running{}, record, heartbeats{})
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	if got := waits(); len(got) != 2 || !strings.Contains(got[0], "1 of 2 Pods available") || !strings.Contains(got[1], "kube-proxy") {
		t.Errorf("it waits for %q", got)
	}
	dns.Status.AvailableReplicas, proxy.Status.ObservedGeneration = 2, 2
	for _, err := range []error{client.Tracker().Update(appsv1.SchemeGroupVersion.WithResource("deployments"), dns, "kube-system"),
		client.Tracker().Update(appsv1.SchemeGroupVersion.WithResource("daemonsets"), proxy, "kube-system")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := waits(); len(got) > 0 {
		t.Errorf("it still waits for %q", got)
	}
}
