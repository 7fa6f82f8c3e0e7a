package local

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// Pods of a Node that was started again are not ready, static ones apart, which the
// API server only mirrors.
func TestRebooted(t *testing.T) {
	pod := func(name, node string, annotations map[string]string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n", Annotations: annotations}}
		p.Spec.NodeName = node
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		return p
	}
	client := fake.NewClientset(pod("own", "a", nil), pod("static", "a", map[string]string{corev1.MirrorPodAnnotationKey: "x"}))
	if err := rebooted(t.Context(), client, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]corev1.ConditionStatus{"own": corev1.ConditionFalse, "static": corev1.ConditionTrue} {
		p, err := client.CoreV1().Pods("n").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[corev1.PodConditionType]corev1.ConditionStatus{}
		for _, c := range p.Status.Conditions {
			got[c.Type] = c.Status
		}
		if got[corev1.PodReady] != want || got[corev1.PodScheduled] != corev1.ConditionTrue {
			t.Errorf("conditions of %s are %v, want Ready %s", name, got, want)
		}
	}
}
