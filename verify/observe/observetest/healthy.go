// Package observetest provides tests with the state of a cluster in which everything is up,
// and a network that answers probes as that cluster would. It starts nothing.
package observetest

import (
	"fmt"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/workload"
)

func workloadOf(kind, namespace, name string) components.Workload {
	return components.Workload{Kind: kind, Namespace: namespace, Name: name}
}

// OwnedBy makes a Pod one of a DaemonSet or Deployment, as its controllers do.
func OwnedBy(kind, name string, pod *corev1.Pod) *corev1.Pod {
	isController := true
	if kind == "Deployment" {
		kind, name = "ReplicaSet", name+"-5d4f"
		pod.Labels = maps.Clone(pod.Labels)
		pod.Labels["pod-template-hash"] = "5d4f"
	}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, Controller: &isController}}
	return pod
}

// Healthy is the state of a cluster in which everything is up: Node i has the Pod CIDR
// 10.244.i.0/24, VIPs are the first of the pool.
func Healthy(plan topology.Plan) observe.State {
	s := observe.State{Installed: observe.Installed{
		components.KindIngress: {workloadOf("Deployment", "ingress-nginx", "ingress-nginx-controller")},
		components.KindLoadBalancer: {
			{Kind: "Deployment", Namespace: "metallb-system", Name: "metallb-controller", Does: []components.Duty{components.Assigns}},
			{Kind: "DaemonSet", Namespace: "metallb-system", Name: "metallb-speaker", Does: []components.Duty{components.Announces}}},
	}}
	_, external := plan.External()
	if external {
		delete(s.Installed, components.KindLoadBalancer) // it runs on a host
	}
	ready := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	next := map[string]int{}
	cidr := map[string]string{}
	for i, n := range plan.Nodes() {
		cidr[n.Name] = fmt.Sprintf("10.244.%d.", i)
		s.Nodes = append(s.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}, Spec: corev1.NodeSpec{PodCIDR: cidr[n.Name] + "0/24"},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
	}
	addPod := func(namespace, name, node string, hostNetwork bool, labels map[string]string) *corev1.Pod {
		next[node]++
		ip := cidr[node] + strconv.Itoa(next[node]+1)
		if hostNetwork {
			m, _ := plan.Machine(node)
			ip = m.Address().String()
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
			Spec:   corev1.PodSpec{NodeName: node, HostNetwork: hostNetwork},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, Conditions: ready}}
		s.Pods = append(s.Pods, pod)
		return pod
	}
	addSlice := func(namespace, service string, pods ...*corev1.Pod) {
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service + "-x", Labels: map[string]string{workload.ServiceLabel: service}}}
		for _, p := range pods {
			yes := true
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.Status.PodIP}, Conditions: discoveryv1.EndpointConditions{Ready: &yes},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: p.Name}})
		}
		s.Slices = append(s.Slices, slice)
	}
	c := checks.Pods(plan)
	for _, p := range c.All() {
		addPod(p.Namespace, p.Name, p.Node, p.HostNetwork, p.Labels)
	}
	vips := 0
	nextVIP := func() []corev1.LoadBalancerIngress {
		addr := plan.LoadBalancer.Pools[0].First
		for range vips {
			addr = addr.Next()
		}
		vips++
		ingress := corev1.LoadBalancerIngress{IP: addr.String()}
		if external {
			proxy := corev1.LoadBalancerIPModeProxy
			ingress.IPMode = &proxy
		}
		return []corev1.LoadBalancerIngress{ingress}
	}
	for i, spec := range workload.ServiceSpecs(plan) {
		x := workload.ServiceObject(spec, components.VIPs{})
		x.Spec.ClusterIP = fmt.Sprintf("10.96.1.%d", i+1)
		if spec.Type != "" {
			for k := range x.Spec.Ports {
				x.Spec.Ports[k].NodePort = int32(30000 + 10*i + int(x.Spec.Ports[k].Port)%10)
			}
		}
		if spec.Type == corev1.ServiceTypeLoadBalancer {
			x.Status.LoadBalancer.Ingress = nextVIP()
		}
		s.Services = append(s.Services, x)
		var pods []*corev1.Pod
		for _, name := range c.WithLabel(spec.Label, spec.Value) {
			pods = append(pods, s.Pod(workload.Namespace, name))
		}
		addSlice(workload.Namespace, spec.Name, pods...)
	}
	api := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: workload.ServiceAPI},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 443}}}}
	s.Services = append(s.Services, api)
	addSlice(api.Namespace, api.Name)
	for _, m := range plan.WithRole(topology.RoleControlPlane) {
		last := s.Slices[len(s.Slices)-1]
		last.Endpoints = append(last.Endpoints, discoveryv1.Endpoint{Addresses: []string{m.Address().String()}})
	}
	first := workload.WorkersFirst(plan)[0].Name
	if workload.HasIngress(plan) {
		labels := map[string]string{"app.kubernetes.io/name": plan.Ingress.Name, "app.kubernetes.io/component": "controller"}
		x := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "ingress-nginx-controller", Labels: labels},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceType(plan.Ingress.Service), Selector: labels, ClusterIP: "10.96.2.1",
				Ports: []corev1.ServicePort{{Port: 80, NodePort: 31080}, {Port: 443, NodePort: 31443}}}}
		if x.Spec.Type == corev1.ServiceTypeLoadBalancer {
			x.Status.LoadBalancer.Ingress = nextVIP()
		}
		s.Services = append(s.Services, x)
		addSlice("ingress-nginx", x.Name, OwnedBy("Deployment", "ingress-nginx-controller", addPod("ingress-nginx", "ingress-nginx-controller-1", first, false, labels)))
	}
	two := int32(2)
	s.Deployments = append(s.Deployments, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "coredns"}, Spec: appsv1.DeploymentSpec{Replicas: &two}})
	addSlice("kube-system", "kube-dns", OwnedBy("Deployment", "coredns", addPod("kube-system", "coredns-1", first, false, map[string]string{"k8s-app": "kube-dns"})))
	for _, part := range []string{"controller", "speaker"} {
		OwnedBy(map[string]string{"controller": "Deployment", "speaker": "DaemonSet"}[part], "metallb-"+part, addPod("metallb-system", "metallb-"+part+"-1", first, part == "speaker",
			map[string]string{"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": part}))
	}
	s.DaemonSets = append(s.DaemonSets, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "metallb-speaker"}})
	return s
}

const testLeaf = "c0ffee"

func Snapshot(plan topology.Plan, support components.Support, s observe.State) observe.Snapshot {
	w := observe.New(plan, support, checks.Pods(plan), s, observe.UnmetOf(s, plan, checks.Pods(plan)), nil)
	w.Leaf = testLeaf
	w.CA, _ = certificates()
	return w
}
