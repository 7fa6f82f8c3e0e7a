package run

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// drop discards what two Nodes send each other, as a firewall between them does.
func drop(w *observe.Snapshot, a, b string, also string) func(string, agent.Probe, *agent.Result) *agent.Result {
	between := func(x, y string) bool { return x == a && y == b || x == b && y == a }
	return func(from string, p agent.Probe, r *agent.Result) *agent.Result {
		here := w.NodeOfPod(from)
		lost := observetest.Silence(agent.Timeout, "i/o timeout")
		if p.Kind == agent.DNS {
			if between(here, "w1") { // where CoreDNS is
				return &lost
			}
			return nil
		}
		if also == "underlay" {
			for _, n := range w.Plan.Nodes() {
				if strings.Contains(p.Target, observe.JoinPort(n.Address().String(), agent.HostNetworkHTTP)) && between(here, n.Name) {
					return &lost
				}
			}
		}
		for i, answer := range r.Answers {
			if answer.Seen != nil && between(here, w.NodeOfPod(answer.Seen.Name)) && !strings.HasPrefix(answer.Seen.Name, "node-") && !strings.HasPrefix(from, "node-") {
				r.Answers[i] = lost.Answers[0]
			}
		}
		if !slices.ContainsFunc(r.Answers, func(x agent.Answer) bool { return x.Outcome == agent.Reply }) {
			return &lost
		}
		return r
	}
}

// TestFaults: a fault fails its paths and no others, with a reason that names it.
func TestFaults(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	var w observe.Snapshot
	noPods := func(s *observe.State, label, value string) {
		s.Pods = slices.DeleteFunc(s.Pods, func(p *corev1.Pod) bool { return p.Labels[label] == value })
	}
	noEndpoints := func(s *observe.State, namespace, service string) {
		for _, slice := range s.Slices {
			if slice.Namespace == namespace && slice.Labels[workload.ServiceLabel] == service {
				slice.Endpoints = nil
			}
		}
	}
	warn := func(kind, namespace, name, reason, message string) *corev1.Event {
		return &corev1.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message, InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: namespace, Name: name}}
	}
	timeoutOf := func(kind string) func(string, agent.Probe, *agent.Result) *agent.Result {
		return func(_ string, p agent.Probe, _ *agent.Result) *agent.Result {
			if p.Kind == kind {
				r := observetest.Silence(agent.Timeout, "no ARP reply")
				return &r
			}
			return nil
		}
	}
	rows := []struct {
		name    string
		change  func(s *observe.State)
		upset   func(string, agent.Probe, *agent.Result) *agent.Result
		outcome string
		fails   map[string]string // id, or "id to" → part of its reason
		passes  []string          // ids all of whose rows still pass
	}{
		{
			name: "a firewall drops what two Nodes send each other", upset: drop(&w, "w1", "w2", "underlay"), outcome: report.Fail,
			fails: map[string]string{checks.PodToPodCrossNode: "packets between w1 and w2 are lost (the Nodes' own traffic too)",
				checks.PodToClusterIP: "no answer from echo-w2: packets between w1 and w2 are lost", checks.PodToNode: "packets between w1 and w2 are lost",
				checks.DNSService: "no reply in time: packets between w1 and w2 are lost"},
			passes: []string{checks.PodToPodSameNode, checks.PodHairpin, checks.PodToOutside},
		},
		{
			// The client asks by the name of a headless Service: nothing but the Service says to which Nodes.
			name: "a firewall between the client's Node and a backend's", upset: drop(&w, "cp", "w1", "underlay"), outcome: report.Fail,
			fails: map[string]string{checks.PodToHeadless: "packets between cp and w1 are lost"},
		},
		{
			name: "a firewall drops the tunnel between two Nodes", upset: drop(&w, "w1", "w2", ""), outcome: report.Fail,
			fails:  map[string]string{checks.PodToPodCrossNode: "packets between w1 and w2 are lost (Pod traffic only: the Nodes themselves reach each other)"},
			passes: []string{checks.PodToPodSameNode, checks.PodToNode},
		},
		{
			name: "CoreDNS scaled to zero",
			change: func(s *observe.State) {
				noPods(s, "k8s-app", "kube-dns")
				noEndpoints(s, "kube-system", "kube-dns")
				zero := int32(0)
				s.Deployments[0].Spec.Replicas = &zero
			},
			upset: func(from string, p agent.Probe, r *agent.Result) *agent.Result {
				if p.Kind == agent.DNS || strings.Contains(p.Target, ".svc.") {
					r := observetest.Silence(agent.Refused, "connection refused")
					return &r
				}
				return nil
			},
			outcome: report.Fail,
			fails: map[string]string{checks.DNSService: "CoreDNS has 0 ready endpoints: Deployment kube-system/coredns is scaled to 0 replicas",
				checks.DNSExternal: "CoreDNS has 0 ready endpoints", checks.PodToHeadless: "CoreDNS has 0", checks.PodToExternalName: "CoreDNS has 0"},
			passes: []string{checks.PodToPodCrossNode, checks.PodToClusterIP, checks.OutsideToLoadBalancer, checks.OutsideToIngressHTTP},
		},
		{
			name: "CoreDNS crashes",
			change: func(s *observe.State) {
				noEndpoints(s, "kube-system", "kube-dns")
				for _, p := range s.Pods {
					if p.Labels["k8s-app"] == "kube-dns" {
						p.Status.Conditions = nil
						p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
					}
				}
			},
			upset: timeoutOf(agent.DNS), outcome: report.Fail,
			fails: map[string]string{checks.DNSService: "CoreDNS has 0 ready endpoints: Pod coredns-1 is not ready: CrashLoopBackOff"},
		},
		{
			name:   "the speaker is gone",
			change: func(s *observe.State) { noPods(s, "app.kubernetes.io/component", "speaker") },
			// A stale ARP entry may still lead to the Node: the replies keep coming.
			upset: timeoutOf(agent.ARP), outcome: report.Fail,
			fails: map[string]string{checks.OutsideToLoadBalancer: "no ARP reply for 172.30.0.20",
				checks.OutsideToLoadBalancer + " " + workload.ServiceLB: "no metallb-speaker Pod is running (DaemonSet metallb-system/metallb-speaker: 0 of 0 ready)",
				checks.OutsideToIngressHTTP:                             "no metallb-speaker Pod is running", checks.OutsideToIngressHTTPS: "no metallb-speaker Pod is running"},
			passes: []string{checks.OutsideToNodePort, checks.PodToClusterIP, checks.DNSService},
		},
		{
			name: "the speaker of the only Node with an endpoint is refused",
			change: func(s *observe.State) {
				for _, p := range s.Pods {
					if p.Labels["app.kubernetes.io/component"] == "speaker" {
						p.Spec.NodeName = "w2"
					}
				}
				s.Events = append(s.Events, warn("DaemonSet", "metallb-system", "metallb-speaker", "FailedCreate", `pods "metallb-speaker-" is forbidden: violates PodSecurity "restricted:latest"`))
			},
			upset: func(_ string, p agent.Probe, _ *agent.Result) *agent.Result {
				if p.Kind == agent.ARP && p.Target == w.Services[workload.ServiceLBLocal].VIP {
					r := observetest.Silence(agent.Timeout, "no ARP reply")
					return &r
				}
				return nil
			},
			outcome: report.Fail,
			fails: map[string]string{checks.OutsideToLoadBalancer + " " + workload.ServiceLBLocal: `w1 has no Pod of DaemonSet metallb-system/metallb-speaker: ` +
				`FailedCreate: pods "metallb-speaker-" is forbidden: violates PodSecurity "restricted:latest"`},
			passes: []string{checks.OutsideToIngressHTTP, checks.OutsideToNodePort},
		},
		{
			name: "every Node is excluded from load balancers",
			change: func(s *observe.State) {
				for _, n := range s.Nodes {
					n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""}
				}
			},
			upset: timeoutOf(agent.ARP), outcome: report.Fail,
			fails: map[string]string{checks.OutsideToLoadBalancer: "every Node has the label node.kubernetes.io/exclude-from-external-load-balancers"},
		},
		{
			name: "no VIP to be had from the pool",
			change: func(s *observe.State) {
				s.Service(workload.Namespace, workload.ServiceLB).Status.LoadBalancer.Ingress = nil
				s.Events = append(s.Events, warn("Service", workload.Namespace, workload.ServiceLB, "AllocationFailed", `Failed to allocate IP for "netlab-verify/echo-lb": no available IPs`))
			},
			outcome: report.Fail,
			fails:   map[string]string{checks.OutsideToLoadBalancer + " " + workload.ServiceLB: `no VIP assigned to Service echo-lb: Service event: AllocationFailed: Failed to allocate IP for "netlab-verify/echo-lb": no available IPs`},
			passes:  []string{checks.OutsideToIngressHTTP, checks.OutsideToNodePort},
		},
		{
			name: "no VIP, and no controller to give one",
			change: func(s *observe.State) {
				noPods(s, "app.kubernetes.io/component", "controller")
				s.Service(workload.Namespace, workload.ServiceLB).Status.LoadBalancer.Ingress = nil
				s.Deployments = append(s.Deployments, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "metallb-controller"}})
			},
			outcome: report.Fail,
			fails:   map[string]string{checks.OutsideToLoadBalancer + " " + workload.ServiceLB: "no metallb-controller Pod is running (Deployment metallb-system/metallb-controller: 0 of 0 ready)"},
		},
		{
			name: "an ingress backend is gone",
			change: func(s *observe.State) {
				noEndpoints(s, workload.Namespace, workload.ServiceB)
				s.Service(workload.Namespace, workload.ServiceB).Spec.Selector = map[string]string{"app": "gone"}
			},
			outcome: report.Fail,
			fails: map[string]string{checks.OutsideToIngressHTTP + " a.netlab.test/two": "HTTP status 503, not from an agent: ingress backend Service echo-b has no ready endpoints: its selector is app=gone",
				checks.OutsideToIngressHTTPS + " b.netlab.test/one": "ingress backend Service echo-b has no ready endpoints"},
			passes: []string{checks.OutsideToLoadBalancer, checks.PodToClusterIP},
		},
		{
			name: "the ingress controller is gone",
			change: func(s *observe.State) {
				noPods(s, "app.kubernetes.io/name", "ingress-nginx")
				noEndpoints(s, "ingress-nginx", "ingress-nginx-controller")
			},
			upset: func(from string, p agent.Probe, r *agent.Result) *agent.Result {
				if p.Host != "" {
					r := observetest.Silence(agent.Refused, "connection refused")
					return &r
				}
				return nil
			},
			outcome: report.Fail,
			fails:   map[string]string{checks.OutsideToIngressHTTP: "no ingress-nginx controller Pod is ready: no Pod of Deployment ingress-nginx/ingress-nginx-controller found"},
		},
		{
			name: "a Node is down",
			change: func(s *observe.State) {
				s.Node("w2").Status.Conditions[0] = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status."}
			},
			upset: drop(&w, "w1", "w2", "underlay"), outcome: report.Fail,
			fails: map[string]string{checks.PodToPodCrossNode: "Node w2 is not Ready: NodeStatusUnknown: Kubelet stopped posting node status."},
		},
		{
			name: "an agent Pod is stuck",
			change: func(s *observe.State) {
				p := s.Pod(workload.Namespace, "echo-w2")
				p.Status.Conditions, p.Status.PodIP = nil, ""
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}}
				s.Events = append(s.Events, warn("Pod", workload.Namespace, "echo-w2", "FailedCreatePodSandBox", "plugin type=bridge failed"))
			},
			outcome: report.Broken,
			fails:   map[string]string{checks.PodToPodCrossNode: "agent Pod echo-w2 on w2 is not ready: ContainerCreating: FailedCreatePodSandBox: plugin type=bridge failed"},
			passes:  []string{checks.OutsideToIngressHTTP, checks.ContainerToContainer},
		},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s := observetest.Healthy(plan)
			if r.change != nil {
				r.change(&s)
			}
			w = observetest.Snapshot(plan, plantest.Flannel(), s)
			_, got := reach(t, plan, plantest.Flannel(), s, r.upset)
			for key, want := range r.fails {
				id, to, _ := strings.Cut(key, " ")
				said := false
				for _, x := range got {
					if x.Row.ID == id && (to == "" || x.Row.To.Name == to) && x.Finding.Outcome == r.outcome {
						said = said || strings.Contains(x.Finding.Reason, want)
					}
				}
				if !said {
					for _, x := range got {
						if x.Row.ID == id {
							t.Logf("%s → %s: %s %s", x.Row.From.Name, x.Row.To.Name, x.Finding.Outcome, x.Finding.Reason)
						}
					}
					t.Errorf("%s: none is %s and says %q", key, r.outcome, want)
				}
			}
			for _, x := range got {
				if slices.Contains(r.passes, x.Row.ID) && x.Finding.Outcome != report.Pass {
					t.Errorf("%s %s → %s: %s: %s", x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.Finding.Outcome, x.Finding.Reason)
				}
			}
		})
	}
}
