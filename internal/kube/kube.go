// Package kube reads what objects of the Kubernetes API say of themselves, where several
// stages ask the same. It asks no API server.
package kube

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// PodReady reports whether a Pod is ready, as its kubelet says.
func PodReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
