package observe

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/verify/workload"
)

// podTrouble is why an agent Pod is not ready: from its container, its last warning event,
// its Node.
func (s State) podTrouble(p workload.Pod, pod *corev1.Pod) string {
	node := s.Node(p.Node)
	switch {
	case node == nil:
		return fmt.Sprintf("Node %s has not registered", p.Node)
	case pod == nil:
		return "not found"
	}
	why := ContainerTrouble(pod)
	if event := s.warning("Pod", pod.Namespace, pod.Name); event != "" {
		why = Join(why, event)
	}
	if t := NodeTrouble(node); t != "" {
		why = Join(why, t)
	}
	if why == "" {
		why = "phase " + string(pod.Status.Phase)
	}
	return why
}

func ContainerTrouble(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			return Join(w.Reason, w.Message)
		}
		if t := c.State.Terminated; t != nil {
			return fmt.Sprintf("its container exited with code %d: %s", t.ExitCode, t.Reason)
		}
	}
	return ""
}

// NodeTrouble is "" for a Node that is Ready.
func NodeTrouble(n *corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Sprintf("Node %s is not Ready: %s", n.Name, Join(c.Reason, c.Message))
		}
	}
	return ""
}

func (s State) Node(name string) *corev1.Node {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// warning is the newest warning event about an object, "" for none.
func (s State) warning(kind, namespace, name string) string {
	for _, e := range slices.Backward(s.Events) {
		if e.Type == corev1.EventTypeWarning && e.InvolvedObject.Kind == kind && e.InvolvedObject.Namespace == namespace && e.InvolvedObject.Name == name {
			return Join(e.Reason, e.Message)
		}
	}
	return ""
}

// troubleOf is what is wrong with the Pods of a label, or that there are none.
func (s State) troubleOf(namespace, label, value, owner string) string {
	count := 0
	why := ""
	for _, p := range s.Pods {
		if p.Namespace != namespace || p.Labels[label] != value {
			continue
		}
		count++
		if PodReady(p) {
			continue
		}
		why = fmt.Sprintf("Pod %s is not ready", p.Name)
		if t := Join(ContainerTrouble(p), s.warning("Pod", p.Namespace, p.Name)); t != "" {
			why += ": " + t
		}
	}
	if count == 0 {
		return "no Pod of " + owner + " found"
	}
	return why
}

// vipTrouble is why a Service has no VIP.
func (s State) vipTrouble(service *corev1.Service) string {
	why := ""
	if event := s.warning("Service", service.Namespace, service.Name); event != "" {
		why = "Service event: " + event
	}
	if t := s.MetalLB("controller"); t != "" {
		why = Join(why, t)
	}
	if why == "" {
		why = "no event gives a reason"
	}
	return why
}

// MetalLB reports that no Pod of one of MetalLB's two parts is ready; "" if one is. The
// labels differ between its manifests and its chart.
func (s State) MetalLB(part string) string {
	ready := 0
	for _, p := range s.Pods {
		if p.Labels["app"] != "metallb" && p.Labels["app.kubernetes.io/name"] != "metallb" {
			continue
		}
		if p.Labels["component"] != part && p.Labels["app.kubernetes.io/component"] != part {
			continue
		}
		if PodReady(p) {
			ready++
		}
	}
	if ready > 0 {
		return ""
	}
	why := fmt.Sprintf("no %s Pod is running", part)
	for _, d := range s.DaemonSets {
		if part == "speaker" && strings.HasSuffix(d.Name, part) {
			why += fmt.Sprintf(" (DaemonSet %s/%s: %d of %d ready)", d.Namespace, d.Name, d.Status.NumberReady, d.Status.DesiredNumberScheduled)
		}
	}
	for _, d := range s.Deployments {
		if part == "controller" && strings.Contains(d.Namespace+d.Name, "metallb") {
			why += fmt.Sprintf(" (Deployment %s/%s: %d of %d ready)", d.Namespace, d.Name, d.Status.ReadyReplicas, d.Status.Replicas)
		}
	}
	return why
}

// Excluded reports that no Node may announce VIPs; "" if one may. kubeadm sets the label on
// control planes, and MetalLB's speakers respect it.
func (s State) Excluded() string {
	for _, n := range s.Nodes {
		if _, labelled := n.Labels[corev1.LabelNodeExcludeBalancers]; !labelled {
			return ""
		}
	}
	return "every Node has the label " + corev1.LabelNodeExcludeBalancers + ", so none announces VIPs"
}

// Join joins the two parts of a reason; either may be empty.
func Join(a, b string) string {
	a, b = strings.TrimSpace(a), strings.TrimSpace(b)
	switch {
	case a == "":
		return b
	case b == "" || strings.Contains(a, b):
		return a
	}
	return a + ": " + b
}
