package observetest

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"netlab.dev/netlab/verify/observe"
)

// Shop adds to a state the workloads of a user, in the Namespace shop: the Deployments frontend
// (two Pods) and web with the Service web, which has a VIP, and the ExternalName Service database.
// It returns the Ingress of shop.example.test.
func Shop(s observe.State) (observe.State, []networkingv1.Ingress) {
	pod := func(of, name, node, ip string) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": of}},
			Spec:   corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
		s.Pods = append(s.Pods, OwnedBy("Deployment", of, p))
	}
	pod("frontend", "frontend-a", "w1", "10.244.1.51")
	pod("frontend", "frontend-b", "w2", "10.244.2.51")
	pod("web", "web-a", "w2", "10.244.2.60")
	s.Services = append(s.Services,
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec:   corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.7.7", Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30777}, {Name: "syslog", Port: 514, Protocol: corev1.ProtocolUDP}}},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "172.30.0.219"}}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "database"},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "internet.outside.test", Ports: []corev1.ServicePort{{Port: 5432}}}})
	port := func(name string, n int32) discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{Name: &name, Port: &n}
	}
	node := "w2"
	s.Slices = append(s.Slices, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-x", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Ports:      []discoveryv1.EndpointPort{port("http", 8080), port("syslog", 5514)},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.244.2.60"}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "web-a"}}}})
	return s, []networkingv1.Ingress{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: networkingv1.IngressSpec{TLS: []networkingv1.IngressTLS{{Hosts: []string{"shop.example.test"}}}, Rules: []networkingv1.IngressRule{{Host: "shop.example.test"}}}}}
}
