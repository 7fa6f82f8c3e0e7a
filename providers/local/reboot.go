package local

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// rebooted marks the Pods of restarted Nodes as not ready, as Kubernetes does when a Node is
// unreachable for 40 seconds. If a Node restarts sooner its Pods would keep the Ready condition
// that the previous kubelet reported; the new kubelet sets it again when they are ready.
func rebooted(ctx context.Context, client kubernetes.Interface, nodes []string) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.PodCondition{{
		Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "NodeRebooted", LastTransitionTime: metav1.Now(),
	}}}})
	if err != nil {
		return err
	}
	for _, node := range nodes {
		pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
		if err != nil {
			return fmt.Errorf("list the Pods of Node %s: %w", node, err)
		}
		for _, p := range pods.Items {
			if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
				continue
			}
			_, err := client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("mark Pod %s/%s of Node %s not ready: %w", p.Namespace, p.Name, node, err)
			}
		}
	}
	return nil
}
