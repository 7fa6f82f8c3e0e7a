package providers

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
)

func TestRanked(t *testing.T) {
	var objects []unstructured.Unstructured
	for _, kind := range []string{"Deployment", "ConfigMap", "Namespace", "DaemonSet", "ClusterRole"} {
		o := unstructured.Unstructured{}
		o.SetKind(kind)
		objects = append(objects, o)
	}
	namespaces, rest, workloads := ranked(objects)
	if len(namespaces) != 1 || len(rest) != 2 || len(workloads) != 2 {
		t.Errorf("%d namespaces, %d others, %d workloads", len(namespaces), len(rest), len(workloads))
	}
}

// A workload is available when its present generation is, and not while an old one is.
func TestAvailable(t *testing.T) {
	two := int32(2)
	deployment := func(change func(*appsv1.Deployment)) *appsv1.Deployment {
		d := &appsv1.Deployment{}
		d.Generation, d.Spec.Replicas = 3, &two
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}
		change(d)
		return d
	}
	daemons := func(change func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
		d := &appsv1.DaemonSet{}
		d.Generation = 3
		d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 3, DesiredNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberAvailable: 2}
		change(d)
		return d
	}
	for name, c := range map[string]struct {
		object any
		want   bool
	}{
		"a Deployment":               {deployment(func(*appsv1.Deployment) {}), true},
		"not seen yet":               {deployment(func(d *appsv1.Deployment) { d.Status.ObservedGeneration = 2 }), false},
		"one of two":                 {deployment(func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 1 }), false},
		"an old one next to the new": {deployment(func(d *appsv1.Deployment) { d.Status.Replicas = 3 }), false},
		"old ones only":              {deployment(func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 0 }), false},
		"one by default": {deployment(func(d *appsv1.Deployment) {
			d.Spec.Replicas = nil
			d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas = 1, 1, 1
		}), true},
		"a DaemonSet":             {daemons(func(*appsv1.DaemonSet) {}), true},
		"no Node yet":             {daemons(func(d *appsv1.DaemonSet) { d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 3} }), false},
		"a Node without":          {daemons(func(d *appsv1.DaemonSet) { d.Status.NumberAvailable = 1 }), false},
		"a Node with the old one": {daemons(func(d *appsv1.DaemonSet) { d.Status.UpdatedNumberScheduled = 1 }), false},
		"something else":          {"", false},
	} {
		if said, got := available(c.object); got != c.want || said == "" {
			t.Errorf("%s: available %t (%s), want %t", name, got, said, c.want)
		}
	}
}

// The error of a timed-out rollout has what each Pod is waiting for and its last warning.
func TestWaitingPods(t *testing.T) {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }
	pod := func(name string, ready corev1.ConditionStatus, waits *corev1.ContainerStateWaiting) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: meta(name), Spec: corev1.PodSpec{NodeName: "w1"}, Status: corev1.PodStatus{
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Waiting: waits}}}}}
	}
	warning := func(name, of, says string, minute int) *corev1.Event {
		return &corev1.Event{ObjectMeta: meta(name), Type: corev1.EventTypeWarning, Reason: "Unhealthy", Message: says,
			InvolvedObject: corev1.ObjectReference{Name: of}, LastTimestamp: metav1.Date(2026, 11, 24, 12, minute, 0, 0, time.UTC)}
	}
	got := waitingPods(fake.NewClientset(
		pod("slow", corev1.ConditionFalse, nil), warning("a", "slow", "Startup probe failed: the later\n", 2), warning("b", "slow", "the earlier", 1),
		pod("fine", corev1.ConditionTrue, nil), warning("c", "fine", "it once failed", 1),
		pod("stuck", corev1.ConditionFalse, &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull", Message: "no image"}),
	), "ns")
	for _, want := range []string{"container c of Pod stuck on w1 is waiting: ErrImageNeverPull no image",
		"last warning event of Pod slow: Unhealthy: Startup probe failed: the later"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("it says %q once, no %q", got, want)
		}
	}
	if strings.Contains(got, "fine") || strings.Contains(got, "earlier") {
		t.Errorf("it says %q", got)
	}
}
