package observe_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
)

// TestInstalled: objects of a user that bear the labels of the lab's own components are not
// taken for them, whatever comes first.
func TestInstalled(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	stranger := func(labels map[string]string, name string, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: name, Labels: labels}, Spec: corev1.PodSpec{NodeName: "w1"},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.244.1.77", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
	}
	ingress := map[string]string{"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}
	second := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "ingress-nginx-controller", Labels: ingress},
		Spec:   corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: ingress, Ports: []corev1.ServicePort{{Port: 80}}},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "172.30.0.219"}}}}}
	own := observetest.Snapshot(plan, plantest.Flannel(), s).Ingress
	s.Services = append([]*corev1.Service{second}, s.Services...)
	if got := observetest.Snapshot(plan, plantest.Flannel(), s).Ingress; got.VIP != own.VIP || own.VIP == "" {
		t.Errorf("the Ingress's VIP is %s, want %s", got.VIP, own.VIP)
	}

	s.Pods = append([]*corev1.Pod{
		stranger(map[string]string{"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "speaker"}, "speaker-x", corev1.ConditionTrue),
		observetest.OwnedBy("DaemonSet", "kube-proxy", stranger(map[string]string{"k8s-app": "kube-proxy"}, "kube-proxy-x", corev1.ConditionFalse)),
	}, s.Pods...)
	if got := s.NoReadyPod(components.Announces); got != "" {
		t.Errorf("the lab's speaker runs: %s", got)
	}
	if got := s.KubeProxy(); len(got) != 0 {
		t.Errorf("a stranger is taken for kube-proxy: %v", got[0].Name)
	}
	for _, p := range s.Pods {
		if p.Namespace == "metallb-system" {
			p.Status.Conditions = nil
		}
	}
	s.Events = append(s.Events, &corev1.Event{Type: corev1.EventTypeWarning, Reason: "FailedCreate", Message: `pods "metallb-speaker-" is forbidden: violates PodSecurity`,
		InvolvedObject: corev1.ObjectReference{Kind: "DaemonSet", Namespace: "metallb-system", Name: "metallb-speaker"}})
	if got := s.NoReadyPod(components.Announces); !strings.Contains(got, "no metallb-speaker Pod is running") || !strings.Contains(got, "FailedCreate") || !strings.Contains(got, "violates PodSecurity") {
		t.Errorf("with the lab's speaker away: %q", got)
	}
}

// TestRefusedPods: an agent that the cluster refuses or that kubelet rejected is not waited for,
// and its reason is the object that refuses it.
func TestRefusedPods(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	s.Refused = map[string]string{"pods/netlab-verify/echo-w1": "ResourceQuota netlab-verify/few refuses it"}
	for i, p := range s.Pods {
		if p.Name == "echo-w1" {
			s.Pods = append(s.Pods[:i:i], s.Pods[i+1:]...)
		}
		if p.Name == "echo-w2" {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu", Message: "Node didn't have enough resource: cpu"}
		}
	}
	want := map[string]string{"pod/echo-w1": "ResourceQuota netlab-verify/few refuses it", "pod/echo-w2": "OutOfcpu: Node didn't have enough resource: cpu"}
	for _, l := range observe.UnmetOf(s, plan, checks.Pods(plan)) {
		if text, ok := want[l.What]; ok && l.Futile && strings.Contains(l.Why, text) {
			delete(want, l.What)
		}
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
}
