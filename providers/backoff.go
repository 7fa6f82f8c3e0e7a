package providers

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/kube"
)

// While a lab starts, Pods that need kube-proxy, the CNI or the API server exit until it is
// there, and kubelet's back-off would let them wait for 10 s, 20 s, up to 5 minutes after it is.
// The back-off is of a Pod: one that is deleted is created again by its controller, without it.
const (
	renewEvery = 500 * time.Millisecond
	renewals   = 20 // at most, in one start; what exits more often stays, with its back-off
)

// renewing deletes the Pods of a workload that wait for their back-off, until ctx is done.
func renewing(ctx context.Context, client kubernetes.Interface, w components.Workload) {
	left := renewals
	for left > 0 && sleep(ctx, renewEvery) {
		pods, err := client.CoreV1().Pods(w.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			continue // the rollout reports it
		}
		left = renew(ctx, client, slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return !kube.Controls(w.Kind, w.Namespace, w.Name, &p) }), left)
	}
}

// renew deletes those of some Pods that wait for their back-off, left at most, and returns how
// many more may be.
func renew(ctx context.Context, client kubernetes.Interface, pods []corev1.Pod, left int) int {
	for _, p := range pods {
		owner := metav1.GetControllerOf(&p)
		if left == 0 || owner == nil || owner.Kind == "Node" || p.DeletionTimestamp != nil || !backsOff(p) {
			continue // nobody would create it again
		}
		err := client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
		if err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			left--
		}
	}
	return left
}

// backsOff reports whether a container of a Pod waits to be restarted.
func backsOff(p corev1.Pod) bool {
	for _, all := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range all {
			if c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff" {
				return true
			}
		}
	}
	return false
}
