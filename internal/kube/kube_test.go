package kube

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPodReady(t *testing.T) {
	for name, c := range map[string]struct {
		conditions []corev1.PodCondition
		want       bool
	}{
		"new":       {nil, false},
		"scheduled": {[]corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}, false},
		"not ready": {[]corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}, false},
		"unknown":   {[]corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionUnknown}}, false},
		"ready":     {[]corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}, true},
	} {
		if got := PodReady(&corev1.Pod{Status: corev1.PodStatus{Conditions: c.conditions}}); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
