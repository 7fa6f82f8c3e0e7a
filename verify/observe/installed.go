package observe

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/kube"
)

// Installed are the workloads that netlab installed in a lab, by the kind of their component.
// A user may have others of the same charts, with the same labels.
type Installed map[string][]components.Workload

func coreDNS() components.Workload {
	return components.Workload{Kind: "Deployment", Namespace: "kube-system", Name: "coredns"}
}

func kubeProxy() components.Workload {
	return components.Workload{Kind: "DaemonSet", Namespace: "kube-system", Name: "kube-proxy"}
}

// PodsOf are the Pods that a workload controls, whatever their labels.
func (s State) PodsOf(w components.Workload) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range s.Pods {
		if kube.Controls(w.Kind, w.Namespace, w.Name, p) {
			out = append(out, p)
		}
	}
	return out
}

// troubleOf is what is wrong with a workload's Pods; "" if each is ready.
func (s State) troubleOf(w components.Workload) string {
	pods := s.PodsOf(w)
	if len(pods) == 0 {
		return Join(fmt.Sprintf("no Pod of %s found", w), s.creation(w))
	}
	why := ""
	for _, p := range pods {
		if PodReady(p) {
			continue
		}
		why = fmt.Sprintf("Pod %s is not ready", p.Name)
		if t := Join(PodTrouble(p), s.warning("Pod", p.Namespace, p.Name)); t != "" {
			why += ": " + t
		}
	}
	return Join(why, s.creation(w))
}

// creation is why a workload cannot create Pods, from its events.
func (s State) creation(w components.Workload) string {
	for i := len(s.Events) - 1; i >= 0; i-- {
		e := s.Events[i]
		of := e.InvolvedObject
		same := of.Kind == w.Kind && of.Name == w.Name || w.Kind == "Deployment" && of.Kind == "ReplicaSet" && strings.HasPrefix(of.Name, w.Name+"-")
		if e.Reason == "FailedCreate" && of.Namespace == w.Namespace && same {
			return fmt.Sprintf("%s: %s", e.Reason, e.Message)
		}
	}
	return ""
}

// NoReadyPod is why no Pod of the load balancer's workload with a duty is ready; "" if one is, or if
// the lab has no load balancer.
func (s State) NoReadyPod(d components.Duty) string {
	for _, w := range s.Installed[components.KindLoadBalancer] {
		if !slices.Contains(w.Does, d) {
			continue
		}
		pods := s.PodsOf(w)
		for _, p := range pods {
			if PodReady(p) {
				return ""
			}
		}
		return Join(fmt.Sprintf("no %s Pod is running%s", w.Name, s.rollout(w)), s.troubleOf(w))
	}
	return ""
}

// NotReadyOn is why the Pod on a Node, of the load balancer's workload with a duty, is not ready; "" if
// it is.
func (s State) NotReadyOn(d components.Duty, node string) string {
	for _, w := range s.Installed[components.KindLoadBalancer] {
		if !slices.Contains(w.Does, d) {
			continue
		}
		for _, p := range s.PodsOf(w) {
			switch {
			case p.Spec.NodeName != node:
			case PodReady(p):
				return ""
			default:
				return Join(fmt.Sprintf("Pod %s on %s is not ready", p.Name, node), PodTrouble(p))
			}
		}
		return Join(fmt.Sprintf("%s has no Pod of %s", node, w), s.creation(w))
	}
	return ""
}

// rollout is how many Pods of a workload are ready, in brackets.
func (s State) rollout(w components.Workload) string {
	for _, d := range s.DaemonSets {
		if w.Kind == "DaemonSet" && d.Namespace == w.Namespace && d.Name == w.Name {
			return fmt.Sprintf(" (%s: %d of %d ready)", w, d.Status.NumberReady, d.Status.DesiredNumberScheduled)
		}
	}
	for _, d := range s.Deployments {
		if w.Kind == "Deployment" && d.Namespace == w.Namespace && d.Name == w.Name {
			return fmt.Sprintf(" (%s: %d of %d ready)", w, d.Status.ReadyReplicas, d.Status.Replicas)
		}
	}
	return fmt.Sprintf(" (%s not found)", w)
}

// CoreDNS are the Pods of the lab's DNS.
func (s State) CoreDNS() []*corev1.Pod { return s.PodsOf(coreDNS()) }

// IngressController are the Pods of the lab's ingress controller.
func (s State) IngressController() []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range s.Installed[components.KindIngress] {
		out = append(out, s.PodsOf(w)...)
	}
	return out
}

// KubeProxy are the Pods of the lab's kube-proxy.
func (s State) KubeProxy() []*corev1.Pod { return s.PodsOf(kubeProxy()) }
