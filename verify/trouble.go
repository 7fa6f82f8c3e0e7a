package verify

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// podTrouble says why an agent Pod is not ready, from the nearest witness: its container,
// its last warning, its Node.
func (s state) podTrouble(p agentPod, pod *corev1.Pod) string {
	node := s.node(p.Node)
	switch {
	case node == nil:
		return fmt.Sprintf("Node %s has not registered", p.Node)
	case pod == nil:
		return "it does not exist"
	}
	why := containerTrouble(pod)
	if event := s.warning("Pod", pod.Namespace, pod.Name); event != "" {
		why = join(why, event)
	}
	if t := nodeTrouble(node); t != "" {
		why = join(why, t)
	}
	if why == "" {
		why = "phase " + string(pod.Status.Phase)
	}
	return why
}

func containerTrouble(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			return join(w.Reason, w.Message)
		}
		if t := c.State.Terminated; t != nil {
			return fmt.Sprintf("its container ended with %d %s", t.ExitCode, t.Reason)
		}
	}
	return ""
}

// nodeTrouble is "" for a Node that is Ready.
func nodeTrouble(n *corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Sprintf("Node %s is not Ready: %s", n.Name, join(c.Reason, c.Message))
		}
	}
	return ""
}

func (s state) node(name string) *corev1.Node {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// warning gives the newest warning about an object, "" for none.
func (s state) warning(kind, namespace, name string) string {
	for _, e := range slices.Backward(s.Events) {
		if e.Type == corev1.EventTypeWarning && e.InvolvedObject.Kind == kind && e.InvolvedObject.Namespace == namespace && e.InvolvedObject.Name == name {
			return join(e.Reason, e.Message)
		}
	}
	return ""
}

// troubleOf says what is wrong with the Pods of a label, or that there are none.
func (s state) troubleOf(namespace, label, value, owner string) string {
	count := 0
	why := ""
	for _, p := range s.Pods {
		if p.Namespace != namespace || p.Labels[label] != value {
			continue
		}
		count++
		if podReady(p) {
			continue
		}
		why = fmt.Sprintf("Pod %s is not ready", p.Name)
		if t := join(containerTrouble(p), s.warning("Pod", p.Namespace, p.Name)); t != "" {
			why += ": " + t
		}
	}
	if count == 0 {
		return "no Pod of " + owner + " exists"
	}
	return why
}

// vipTrouble says why a Service has no VIP.
func (s state) vipTrouble(service *corev1.Service) string {
	why := ""
	if event := s.warning("Service", service.Namespace, service.Name); event != "" {
		why = "Service event: " + event
	}
	if t := s.metalLB("controller"); t != "" {
		why = join(why, t)
	}
	if why == "" {
		why = "no event says why"
	}
	return why
}

// metalLB says that no Pod of one of MetalLB's two parts is ready; "" if one is. The
// labels differ between its manifests and its chart.
func (s state) metalLB(part string) string {
	ready := 0
	for _, p := range s.Pods {
		if p.Labels["app"] != "metallb" && p.Labels["app.kubernetes.io/name"] != "metallb" {
			continue
		}
		if p.Labels["component"] != part && p.Labels["app.kubernetes.io/component"] != part {
			continue
		}
		if podReady(p) {
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

// excluded says that no Node may announce VIPs; "" if one may. kubeadm puts the label on
// control planes, and MetalLB's speakers honour it.
func (s state) excluded() string {
	for _, n := range s.Nodes {
		if _, labelled := n.Labels[corev1.LabelNodeExcludeBalancers]; !labelled {
			return ""
		}
	}
	return "every Node has the label " + corev1.LabelNodeExcludeBalancers + ", so none announces VIPs"
}

// join puts two halves of a reason together; either may be empty.
func join(a, b string) string {
	a, b = strings.TrimSpace(a), strings.TrimSpace(b)
	switch {
	case a == "":
		return b
	case b == "" || strings.Contains(a, b):
		return a
	}
	return a + ": " + b
}
