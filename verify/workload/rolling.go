package workload

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/agent"
)

// labelRolling is on the backends of a Service that are replaced while it is probed.
const labelRolling = "netlab.dev/rolling"

// DrainSeconds is how long such a backend goes on serving after its deletion, as one does that
// gives the cluster time to learn of it
// (https://kubernetes.io/docs/tutorials/services/pods-and-endpoint-termination-flow/).
const DrainSeconds = 4

// RollingService is the Service of backends that are replaced.
func RollingService(name string) *corev1.Service {
	return ServiceObject(ServiceSpec{Name: name, Label: labelRolling, Value: name, Datagrams: true}, components.VIPs{})
}

// RollingPod is the n-th backend of such a Service.
func RollingPod(service string, n int, node, image string) *corev1.Pod {
	p := podObject(Pod{Name: RollingName(service, n), Namespace: Namespace, Node: node,
		Labels: map[string]string{labelRole: "rolling", labelRolling: service}}, image)
	grace := int64(DrainSeconds + 1)
	p.Spec.TerminationGracePeriodSeconds = &grace
	c := &p.Spec.Containers[0]
	c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: DrainSeconds}}}
	c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(agent.PortHTTP)}}}
	return p
}

// RollingName is the name of a Service's n-th backend.
func RollingName(service string, n int) string { return fmt.Sprintf("%s-%d", service, n) }
