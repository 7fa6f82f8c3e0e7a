package workload

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/plantest"
)

// changes lists what was written since the last call, as "verb resource/name".
func changes(client *fake.FakeDynamicClient) []string {
	var out []string
	for _, a := range client.Actions() {
		switch a := a.(type) {
		case clienttesting.CreateAction:
			name := a.GetObject().(metav1.Object).GetName()
			out = append(out, "create "+a.GetResource().Resource+"/"+name)
		case clienttesting.DeleteAction:
			out = append(out, "delete "+a.GetResource().Resource+"/"+a.GetName())
		}
	}
	client.ClearActions()
	return out
}

// testPods are the Pods of a plan with those of two policies.
func testPods(plan topology.Plan) Pods {
	return PodsOf(plan, []Subject{{Name: "policy-default-deny"}, {Name: "policy-egress-deny", Isolated: true}})
}

func testLab(plan topology.Plan, image string) Lab {
	return Lab{Plan: plan, Support: plantest.Flannel(), Pods: testPods(plan), Image: image}
}

// TestComponentsAsk: a Service names its pool, and an Ingress its class, as the lab's load balancer
// and ingress controller have it.
func TestComponentsAsk(t *testing.T) {
	plan := plantest.Of(t, `networks: [{name: lan, cidr: 172.30.0.0/24}, {name: dmz, cidr: 172.31.0.0/24}]
nodes: [{name: cp, role: control-plane, networks: [lan, dmz]}, {name: w1, role: worker, networks: [lan, dmz]}]
loadBalancer: {name: metallb, pools: [172.30.0.200-172.30.0.209, 172.31.0.200-172.31.0.209]}
ingress: {name: ingress-nginx}
`)
	pools, classes := map[string]string{}, []string{}
	for _, o := range Objects(testLab(plan, "image")) {
		switch x := o.Object.(type) {
		case *corev1.Service:
			if pool := x.Annotations[plantest.Flannel().VIPs.PoolAnnotation]; pool != "" {
				pools[x.Name] = pool
			}
		case *networkingv1.Ingress:
			classes = append(classes, *x.Spec.IngressClassName, x.Annotations["redirect.example"])
		}
	}
	if len(pools) != 3 || pools[ServiceLB] == "" || pools[ServiceLB] == pools[ServiceLB+"-2"] || !slices.Equal(classes, []string{"example", "no"}) {
		t.Errorf("Services ask for %v, the Ingress has %v", pools, classes)
	}
}

func TestApplyWorkload(t *testing.T) {
	ctx := context.Background()
	plan := plantest.Plan(t, "quickstart")
	client := fake.NewSimpleDynamicClient(scheme.Scheme)
	apply := func(image string) []string {
		t.Helper()
		if err := Apply(ctx, client, testLab(plan, image)); err != nil {
			t.Fatal(err)
		}
		return changes(client)
	}
	first := apply("netlab.dev/agent:self")
	if want := len(Objects(testLab(plan, "x"))) + 2; len(first) != want {
		t.Errorf("made %d objects, want %d: %v", len(first), want, first)
	}
	last := func(prefix string) int {
		at := -1
		for i, c := range first {
			if strings.HasPrefix(c, prefix) {
				at = i
			}
		}
		return at
	}
	firstPod := slices.IndexFunc(first, func(c string) bool { return strings.HasPrefix(c, "create pods/") })
	if last("create namespaces/") > last("create serviceaccounts/") || last("create serviceaccounts/") > firstPod {
		t.Errorf("Namespaces, then accounts, then Pods: %v", first)
	}
	if again := apply("netlab.dev/agent:self"); len(again) != 0 {
		t.Errorf("a second time it did %v", again)
	}

	// Manual changes are kept.
	services := client.Resource(resourceServices()).Namespace(Namespace)
	b, err := services.Get(ctx, ServiceB, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	unstructured.SetNestedStringMap(b.Object, map[string]string{"app": "gone"}, "spec", "selector")
	if _, err := services.Update(ctx, b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	client.ClearActions()
	if got := apply("netlab.dev/agent:self"); len(got) != 0 {
		t.Errorf("a selector changed by hand: %v", got)
	}

	// What has terminated, is stale, or was left behind is replaced or deleted.
	pods := client.Resource(resourcePods()).Namespace(Namespace)
	ended, err := pods.Get(ctx, "echo-w1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	unstructured.SetNestedField(ended.Object, string(corev1.PodFailed), "status", "phase")
	if _, err := pods.Update(ctx, ended, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(ctx, "echo-w2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	left := &networkingv1.NetworkPolicy{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: OwnMeta(Namespace, "policy-default-deny", nil)}
	if err := create(ctx, client, object{Resource: resourcePolicies(), Namespace: Namespace, Name: "policy-default-deny", Object: left}, nil, nil); err != nil {
		t.Fatal(err)
	}
	client.ClearActions()
	got := apply("netlab.dev/agent:self")
	slices.Sort(got)
	if want := "create pods/echo-w1, create pods/echo-w2, delete networkpolicies/policy-default-deny, delete pods/echo-w1"; strings.Join(got, ", ") != want {
		t.Errorf("did %v, want %s", got, want)
	}

	// Another agent image: its Pods are recreated, and nothing else. The certificate stays.
	got = apply("netlab.dev/agent:other")
	if want := 2 * len(testPods(plan).All()); len(got) != want {
		t.Errorf("%d changes for another image, want %d: %v", len(got), want, got)
	}

	// One worker fewer: its Pods are deleted.
	plan.Machines = slices.DeleteFunc(plan.Machines, func(m topology.Machine) bool { return m.Name == "w2" })
	got = apply("netlab.dev/agent:other")
	for _, want := range []string{"delete pods/echo-w2", "delete pods/node-w2"} {
		if !slices.Contains(got, want) {
			t.Errorf("a worker removed: no %q in %v", want, got)
		}
	}
	if slices.Contains(got, "delete secrets/"+SecretName) {
		t.Error("the certificate was recreated")
	}
}

// TestWorkloadIsCheap: agents start quickly and do no harm.
func TestWorkloadIsCheap(t *testing.T) {
	for _, o := range Objects(testLab(plantest.Plan(t, "quickstart"), "netlab.dev/agent:self")) {
		pod, ok := o.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		s := pod.Spec
		if s.NodeName == "" || *s.AutomountServiceAccountToken || *s.EnableServiceLinks || *s.TerminationGracePeriodSeconds != 0 {
			t.Errorf("%s: %+v", pod.Name, s)
		}
		for _, c := range s.Containers {
			if c.ImagePullPolicy != corev1.PullNever || c.Image != "netlab.dev/agent:self" {
				t.Errorf("%s: image %s, %s", pod.Name, c.Image, c.ImagePullPolicy)
			}
		}
	}
}

// TestPortsOnNodes: what an agent listens at in a Node's own network is declared, lies outside
// what users, NodePorts and the kernel use, and is what its flags say.
func TestPortsOnNodes(t *testing.T) {
	for _, o := range Objects(testLab(plantest.Plan(t, "quickstart"), "netlab.dev/agent:self")) {
		pod, ok := o.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		c := pod.Spec.Containers[0]
		if !pod.Spec.HostNetwork {
			if held := slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 && p.HostPort != visitorPort }); held || strings.Contains(strings.Join(c.Command, " "), "--http") {
				t.Errorf("%s has ports of a Node: %v", pod.Name, c)
			}
			continue
		}
		want := map[string]int32{"http": 29640, "tcp": 29641, "udp": 29642, "load": 29643, "load-udp": 29643}
		for _, p := range c.Ports {
			if p.ContainerPort != want[p.Name] || p.HostPort != p.ContainerPort || strings.HasSuffix(p.Name, "udp") != (p.Protocol == corev1.ProtocolUDP) {
				t.Errorf("%s: port %+v, want %d", pod.Name, p, want[p.Name])
			}
		}
		flags := "--http 29640 --tcp 29641 --udp 29642 --load 29643"
		if got := strings.Join(c.Command, " "); len(c.Ports) != len(want) || !strings.HasSuffix(got, flags) {
			t.Errorf("%s: %d ports, %s; want %d and %s", pod.Name, len(c.Ports), got, len(want), flags)
		}
	}
}

// TestOwners: the controller of an agent Pod is its Node, from its creation or once the Node
// has registered; a Node that registered again gets Pods of its own.
func TestOwners(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	client := fake.NewSimpleDynamicClient(scheme.Scheme)
	nodes := client.Resource(corev1.SchemeGroupVersion.WithResource("nodes"))
	register := func(name, uid string) {
		t.Helper()
		n := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name, "uid": uid}}}
		if _, err := nodes.Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	apply := func() {
		t.Helper()
		if err := Apply(t.Context(), client, testLab(plan, "image")); err != nil {
			t.Fatal(err)
		}
	}
	owner := func(pod string) string {
		t.Helper()
		p, err := client.Resource(resourcePods()).Namespace(Namespace).Get(t.Context(), pod, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if c := metav1.GetControllerOf(p); c != nil {
			return c.Kind + " " + c.Name + " " + string(c.UID)
		}
		return ""
	}
	register("w1", "one")
	apply()
	if w1, w2 := owner("echo-w1"), owner("node-w2"); w1 != "Node w1 one" || w2 != "" {
		t.Errorf("w1 has registered, w2 has not: %q %q", w1, w2)
	}
	register("w2", "two")
	client.ClearActions()
	apply()
	if got := changes(client); len(got) > 0 || owner("node-w2") != "Node w2 two" {
		t.Errorf("a Node that registered late: %q, %v", owner("node-w2"), got)
	}
	if err := nodes.Delete(t.Context(), "w1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	register("w1", "again")
	apply()
	if got := owner("echo-w1"); got != "Node w1 again" {
		t.Errorf("after w1 registered again the owner is %q", got)
	}
}
