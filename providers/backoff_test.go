package providers

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"netlab.dev/netlab/components"
)

// TestRenew: what waits for kubelet's back-off while the lab starts is created again by its
// controller; other Pods, and those that nobody would create again, are left alone.
func TestRenew(t *testing.T) {
	isController := true
	pod := func(name, owner, waits string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-flannel", Name: name, UID: types.UID(name)}}
		if owner != "" {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: owner, Name: "kube-flannel-ds", Controller: &isController}}
		}
		if waits != "" {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{}, {State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waits}}}}
		}
		return p
	}
	other := pod("other", "DaemonSet", "CrashLoopBackOff")
	other.OwnerReferences[0].Name = "users"
	away := pod("elsewhere", "DaemonSet", "CrashLoopBackOff")
	away.Namespace = "shop"
	client := fake.NewClientset(pod("loops", "DaemonSet", "CrashLoopBackOff"), pod("starts", "DaemonSet", "ContainerCreating"),
		pod("runs", "DaemonSet", ""), pod("static", "Node", "CrashLoopBackOff"), pod("bare", "", "CrashLoopBackOff"), away, other)
	ctx, cancel := context.WithTimeout(t.Context(), 3*renewEvery)
	defer cancel()
	began := time.Now()
	renewing(ctx, client, components.Workload{Kind: "DaemonSet", Namespace: "kube-flannel", Name: "kube-flannel-ds"})
	if time.Since(began) < 2*renewEvery {
		t.Error("it gave up")
	}
	all, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, p := range all.Items {
		left = append(left, p.Name)
	}
	slices.Sort(left)
	if want := []string{"bare", "elsewhere", "other", "runs", "starts", "static"}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}

	// A Pod that exits for ever is not recreated for ever.
	loops := pod("loops", "DaemonSet", "CrashLoopBackOff")
	if left := renew(t.Context(), fake.NewClientset(loops), []corev1.Pod{*loops}, 0); left != 0 {
		t.Errorf("%d left", left)
	}
}
