package verify

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// flannel is what Flannel with VXLAN supports.
func flannel() components.Support {
	return components.Support{L7Reason: "Flannel enforces no NetworkPolicy", EncapOverhead: 50}
}

// enforcing is a CNI that enforces policies and learns outside routers its Pods.
func enforcing() components.Support {
	return components.Support{NetworkPolicy: true, RoutesPodCIDR: true, L7Reason: "no Envoy"}
}

func planOf(t *testing.T, scenario string) topology.Plan {
	t.Helper()
	file := filepath.Join("..", "scenarios", scenario+".yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lab, err := labs.Load(file, data, labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}

// healthy is the state of a cluster in which everything came up: Node i has the Pod CIDR
// 10.244.i.0/24, VIPs are the first of the pool.
func healthy(plan topology.Plan) state {
	var s state
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
		ip := cidr[node] + itoa(next[node]+1)
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
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service + "-x", Labels: map[string]string{serviceLabel: service}}}
		for _, p := range pods {
			yes := true
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.Status.PodIP}, Conditions: discoveryv1.EndpointConditions{Ready: &yes},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: p.Name}})
		}
		s.Slices = append(s.Slices, slice)
	}
	c := castOf(plan)
	for _, p := range c.all() {
		addPod(p.Namespace, p.Name, p.Node, p.HostNetwork, p.Labels)
	}
	vips := 0
	nextVIP := func() []corev1.LoadBalancerIngress {
		addr := plan.LoadBalancer.Pools[0].First
		for range vips {
			addr = addr.Next()
		}
		vips++
		return []corev1.LoadBalancerIngress{{IP: addr.String()}}
	}
	for i, spec := range serviceSpecs(plan) {
		x := serviceObject(spec)
		x.Spec.ClusterIP = fmt.Sprintf("10.96.1.%d", i+1)
		if spec.Type != "" {
			x.Spec.Ports[0].NodePort = int32(30000 + i)
		}
		if spec.Type == corev1.ServiceTypeLoadBalancer {
			x.Status.LoadBalancer.Ingress = nextVIP()
		}
		s.Services = append(s.Services, x)
		var pods []*corev1.Pod
		for _, name := range c.withLabel(spec.Label, spec.Value) {
			pods = append(pods, s.pod(Namespace, name))
		}
		addSlice(Namespace, spec.Name, pods...)
	}
	first := workersFirst(plan)[0].Name
	if hasIngress(plan) {
		labels := map[string]string{"app.kubernetes.io/name": plan.Ingress.Name, "app.kubernetes.io/component": "controller"}
		x := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "ingress-nginx-controller", Labels: labels},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceType(plan.Ingress.Service), Selector: labels, ClusterIP: "10.96.2.1",
				Ports: []corev1.ServicePort{{Port: 80, NodePort: 31080}, {Port: 443, NodePort: 31443}}}}
		if x.Spec.Type == corev1.ServiceTypeLoadBalancer {
			x.Status.LoadBalancer.Ingress = nextVIP()
		}
		s.Services = append(s.Services, x)
		addSlice("ingress-nginx", x.Name, addPod("ingress-nginx", "ingress-nginx-controller-1", first, false, labels))
	}
	two := int32(2)
	s.Deployments = append(s.Deployments, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "coredns"}, Spec: appsv1.DeploymentSpec{Replicas: &two}})
	addSlice("kube-system", "kube-dns", addPod("kube-system", "coredns-1", first, false, map[string]string{"k8s-app": "kube-dns"}))
	for _, part := range []string{"controller", "speaker"} {
		addPod("metallb-system", "metallb-"+part+"-1", first, true, map[string]string{"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": part})
	}
	s.DaemonSets = append(s.DaemonSets, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "metallb-speaker"}})
	return s
}

const testLeaf = "c0ffee"

func worldOf(plan topology.Plan, support components.Support, s state) world {
	w := newWorld(plan, support, "/state/"+plan.Lab.Label(), s, lacks(s, plan), nil)
	w.leaf = testLeaf
	return w
}

// network answers probes as the lab of a world would. An answer that a test wants
// otherwise comes from upset, which gives nil for what it leaves alone.
type network struct {
	w     world
	upset func(from string, p agent.Probe, r *agent.Result) *agent.Result
}

// reply is one answered repetition, as that of an agent.
func reply(name, node, source string) agent.Answer {
	return agent.Answer{Outcome: agent.Reply, RTTMicros: 300, Status: 200, Seen: &agent.Seen{Name: name, Node: node, Remote: source}}
}

func silence(outcome, text string) agent.Result {
	return agent.Result{Outcome: outcome, Error: text, Answers: []agent.Answer{{Outcome: outcome, Error: text}}}
}

func answersOf(answers ...agent.Answer) agent.Result {
	return agent.Result{Outcome: agent.Reply, Answers: answers, ElapsedMicros: 400}
}

func (n network) ask(s station, probes []agent.Probe) []agent.Result {
	from := s.Machine
	if _, name, ok := strings.Cut(s.Pod, "/"); ok {
		from = name
	}
	var out []agent.Result
	for _, p := range probes {
		r := n.answer(from, s, p)
		if n.upset != nil {
			if other := n.upset(from, p, &r); other != nil {
				r = *other
			}
		}
		out = append(out, r)
	}
	return out
}

func (n network) answer(from string, s station, p agent.Probe) agent.Result {
	switch p.Kind {
	case agent.Bind:
		return silence(agent.Refused, "address already in use")
	case agent.MTU:
		return answersOf(agent.Answer{Outcome: agent.Reply, Payload: p.Hint})
	case agent.ARP:
		m, _ := n.w.plan.Machine(n.w.cast.Echo[0].Node)
		return answersOf(agent.Answer{Outcome: agent.Reply, MACs: []string{m.NICs[0].MAC}})
	case agent.DNS:
		return answersOf(agent.Answer{Outcome: agent.Reply, RTTMicros: 500, DNS: n.resolve(p.Target)})
	}
	u, err := url.Parse(p.Target)
	if err != nil {
		panic(err)
	}
	host, portText, err := net.SplitHostPort(u.Host)
	if err != nil {
		host, portText = u.Host, "80"
	}
	port, _ := strconv.Atoi(portText)
	outside := s.Pod == ""
	source := n.w.podIPs[from]
	if outside {
		m, _ := n.w.plan.Machine(from)
		source = m.Address().String()
		if target, err := netip.ParseAddr(host); err == nil {
			source = egressIP(m, target)
		}
	}
	node := n.w.nodeOfPod(from)
	pods := func(names []string) agent.Result {
		if len(names) == 0 {
			return silence(agent.Refused, "connection refused")
		}
		var answers []agent.Answer
		for i := range max(p.Count, 1) {
			name := names[i%len(names)]
			answers = append(answers, reply(name, n.w.nodeOfPod(name), source))
		}
		return answersOf(answers...)
	}
	for name, ip := range n.w.podIPs {
		if pod, _ := n.w.cast.pod(name); ip == host && port == agent.PortHTTP && !pod.HostNetwork {
			if outside && !n.w.support.RoutesPodCIDR {
				return silence(agent.Unreachable, "network is unreachable")
			}
			return pods([]string{name})
		}
	}
	for _, m := range n.w.plan.Machines {
		if m.Address().String() != host {
			continue
		}
		if port == agent.PortHTTP {
			if m.Kind == topology.KindNode {
				return pods([]string{nodeAgent(m.Name)})
			}
			client, _ := n.w.plan.Machine(node)
			return answersOf(reply(m.Name, "", egressIP(client, m.Address())))
		}
		for name, x := range n.w.services {
			if x.NodePorts[80] == int32(port) {
				if name != ServiceNodePortLocal {
					return pods(x.Ready)
				}
				if slices.ContainsFunc(x.Ready, func(pod string) bool { return n.w.nodeOfPod(pod) == m.Name }) {
					return pods(x.Ready)
				}
				return silence(agent.Timeout, "i/o timeout")
			}
		}
		if port == 31080 || port == 31443 {
			return n.ingress(p, u)
		}
	}
	for _, x := range n.w.services {
		switch host {
		case x.ClusterIP:
			if outside {
				return silence(agent.Timeout, "i/o timeout")
			}
			return pods(x.Ready)
		case x.VIP:
			return pods(x.Ready)
		}
	}
	domain := "." + Namespace + ".svc.cluster.local"
	switch host {
	case n.w.ingress.VIP:
		return n.ingress(p, u)
	case "127.0.0.1":
		source = "127.0.0.1"
		return pods([]string{from})
	case ServiceHeadless + domain:
		return pods(n.w.services[ServiceHeadless].Ready[:1])
	case ServiceExternal + domain:
		client, _ := n.w.plan.Machine(node)
		target, _ := outsideTarget(n.w.plan)
		return answersOf(reply(target.Name, "", egressIP(client, target.Address())))
	}
	panic("nobody is at " + p.Target)
}

func (n network) ingress(p agent.Probe, u *url.URL) agent.Result {
	for _, r := range ingressRoutes() {
		if r.Host == p.Host && r.Path == u.Path {
			if len(n.w.services[r.Service].Ready) == 0 {
				return answersOf(agent.Answer{Outcome: agent.Reply, Status: 503})
			}
			a := reply(n.w.services[r.Service].Ready[0], "", "10.244.1.9")
			a.Certificate = &agent.Certificate{SHA256: testLeaf, DNSNames: ingressHosts()}
			return answersOf(a)
		}
	}
	return answersOf(agent.Answer{Outcome: agent.Reply, Status: 404})
}

func (n network) resolve(name string) *agent.DNSAnswer {
	domain := "." + Namespace + ".svc.cluster.local."
	out := &agent.DNSAnswer{Name: name, Server: "10.96.0.10:53", Code: "NOERROR"}
	record := func(kind, value string) {
		out.Records = append(out.Records, agent.Record{Name: name, Type: kind, Value: value})
	}
	switch name {
	case ServiceEcho:
		out.Name = ServiceEcho + domain
		record("A", n.w.services[ServiceEcho].ClusterIP)
	case ServiceHeadless + domain:
		for _, pod := range n.w.services[ServiceHeadless].Ready {
			record("A", n.w.podIPs[pod])
		}
	case ServiceExternal + domain:
		record("CNAME", outsideName(n.w.plan)+".")
		record("A", n.w.plan.Names[outsideName(n.w.plan)])
	case outsideName(n.w.plan) + ".":
		record("A", n.w.plan.Names[outsideName(n.w.plan)])
	default:
		out.Code = "NXDOMAIN"
	}
	return out
}
