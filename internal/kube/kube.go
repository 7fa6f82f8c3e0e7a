// Package kube reads the status of objects of the Kubernetes API, for several stages. It does
// not contact an API server.
package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodReady reports whether a Pod's Ready condition is true.
func PodReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Controls reports whether a workload controls a Pod: a Deployment by a ReplicaSet of its name,
// any other kind directly. Labels do not tell: users may copy them.
func Controls(kind, namespace, name string, p *corev1.Pod) bool {
	owner := metav1.GetControllerOf(p)
	if owner == nil || p.Namespace != namespace {
		return false
	}
	if hash := p.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		return kind == "Deployment" && strings.TrimSuffix(owner.Name, "-"+hash) == name
	}
	return owner.Kind == kind && owner.Name == name
}
