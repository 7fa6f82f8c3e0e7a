package observe

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/workload"
)

// podTrouble is why an agent Pod is not ready, whose Node is: from its container, its last warning
// event.
func (s State) podTrouble(p workload.Pod, pod *corev1.Pod) string {
	if pod == nil {
		return Join("not found", s.preempted(p))
	}
	why := PodTrouble(pod)
	if event := s.warning("Pod", pod.Namespace, pod.Name); event != "" {
		why = Join(why, event)
	}
	why = Join(why, s.preempted(p))
	if why == "" {
		why = "phase " + string(pod.Status.Phase)
	}
	return why
}

// PodTrouble is why a Pod is not ready, as its status has it: it was not scheduled, kubelet
// rejected it, a container waits or exited.
func PodTrouble(pod *corev1.Pod) string {
	if pod.Status.Reason != "" {
		return Join(pod.Status.Reason, pod.Status.Message)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled: " + c.Message
		}
	}
	init := len(pod.Status.InitContainerStatuses) // which exit with 0 when they are done
	for i, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil {
			return Join(w.Reason, w.Message)
		}
		if t := c.State.Terminated; t != nil && (t.ExitCode != 0 || i >= init) {
			return fmt.Sprintf("its container exited with code %d: %s", t.ExitCode, t.Reason)
		}
	}
	return ""
}

// preempted is which Pod an agent Pod had to leave its Node for; "" if none.
func (s State) preempted(p workload.Pod) string {
	for _, e := range slices.Backward(s.Events) {
		if e.Reason != "Preempted" || e.InvolvedObject.Namespace != p.Namespace || e.InvolvedObject.Name != p.Name {
			continue
		}
		for _, by := range s.Pods {
			if strings.Contains(e.Message, string(by.UID)) && by.UID != "" {
				return fmt.Sprintf("preempted by Pod %s/%s of PriorityClass %s", by.Namespace, by.Name, by.Spec.PriorityClassName)
			}
		}
		return Join(e.Reason, e.Message)
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

// vipTrouble is why a Service has no VIP.
func (s State) vipTrouble(service *corev1.Service) string {
	why := ""
	if event := s.warning("Service", service.Namespace, service.Name); event != "" {
		why = "Service event: " + event
	}
	if t := s.NoReadyPod(components.Assigns); t != "" {
		why = Join(why, t)
	}
	if why == "" {
		why = "no event gives a reason"
	}
	return why
}

// Excluded reports that every Node is excluded from load balancers, as kubeadm excludes control
// planes; "" if one is not.
func (s State) Excluded() string {
	for _, n := range s.Nodes {
		if _, labelled := n.Labels[corev1.LabelNodeExcludeBalancers]; !labelled {
			return ""
		}
	}
	return "every Node has the label " + corev1.LabelNodeExcludeBalancers + ", so VIPs lead to none"
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
