package providers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/kube"
)

// rolledOut watches a workload until all of its Pods are available. When ctx is done first,
// the error says what its Pods are waiting for.
func rolledOut(ctx context.Context, client kubernetes.Interface, w components.Workload) error {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", w.Name).String()}
	open := func() (watch.Interface, error) {
		switch w.Kind {
		case "DaemonSet":
			return client.AppsV1().DaemonSets(w.Namespace).Watch(ctx, options)
		case "StatefulSet":
			return client.AppsV1().StatefulSets(w.Namespace).Watch(ctx, options)
		}
		return client.AppsV1().Deployments(w.Namespace).Watch(ctx, options)
	}
	last := "it does not exist"
	for ctx.Err() == nil {
		events, err := open()
		if err != nil {
			last = err.Error()
			sleep(ctx, apiRetry)
			continue
		}
		for event := range events.ResultChan() {
			var ready bool
			if last, ready = available(event.Object); ready {
				events.Stop()
				return nil
			}
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err() // cancelled: the caller needs no explanation
	}
	return fmt.Errorf("%s is not ready: %w: %s%s", w, ctx.Err(), last, waitingPods(client, w.Namespace))
}

// available reports whether a workload's current generation is fully available.
func available(object any) (string, bool) {
	switch o := object.(type) {
	case *appsv1.DaemonSet:
		s := o.Status
		return fmt.Sprintf("%d of %d Pods available", s.NumberAvailable, s.DesiredNumberScheduled),
			s.ObservedGeneration >= o.Generation && s.DesiredNumberScheduled > 0 &&
				s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberAvailable == s.DesiredNumberScheduled
	case *appsv1.Deployment:
		s, want := o.Status, int32(1)
		if o.Spec.Replicas != nil {
			want = *o.Spec.Replicas
		}
		return fmt.Sprintf("%d of %d Pods available", s.AvailableReplicas, want),
			s.ObservedGeneration >= o.Generation && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.Replicas == want
	case *appsv1.StatefulSet:
		s, want := o.Status, int32(1)
		if o.Spec.Replicas != nil {
			want = *o.Spec.Replicas
		}
		return fmt.Sprintf("%d of %d Pods available", s.AvailableReplicas, want),
			s.ObservedGeneration >= o.Generation && s.AvailableReplicas == want && (s.UpdatedReplicas == want || o.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType)
	}
	return fmt.Sprintf("unexpected %T", object), false
}

// liveWorkload reads a DaemonSet, StatefulSet or Deployment.
func liveWorkload(ctx context.Context, client kubernetes.Interface, kind, namespace, name string) (live metav1.Object, err error) {
	switch kind {
	case "DaemonSet":
		return client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
	case "StatefulSet":
		return client.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	return client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
}

// waitingPods describes why Pods of a namespace are not ready, by their status and their last
// warning event.
func waitingPods(client kubernetes.Interface, namespace string) string {
	ctx, cancel := context.WithTimeout(context.Background(), diagnoseLimit)
	defer cancel()
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "; " + err.Error()
	}
	warnings := map[string]corev1.Event{}
	events, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil {
		events = &corev1.EventList{} // a reason without its warning is still a reason
	}
	for _, e := range events.Items {
		if last, found := warnings[e.InvolvedObject.Name]; !found || !e.LastTimestamp.Before(&last.LastTimestamp) {
			warnings[e.InvolvedObject.Name] = e
		}
	}
	var b strings.Builder
	for _, p := range pods.Items {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
				fmt.Fprintf(&b, "; Pod %s is not scheduled: %s", p.Name, c.Message)
			}
		}
		for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			if w := c.State.Waiting; w != nil {
				fmt.Fprintf(&b, "; container %s of Pod %s on %s is waiting: %s %s", c.Name, p.Name, p.Spec.NodeName, w.Reason, w.Message)
			}
		}
		if e, found := warnings[p.Name]; found && !kube.PodReady(&p) {
			fmt.Fprintf(&b, "; last warning event of Pod %s: %s: %s", p.Name, e.Reason, strings.TrimSpace(e.Message))
		}
	}
	return b.String()
}
