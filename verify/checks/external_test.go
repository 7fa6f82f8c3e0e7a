package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/components/cloud/balancer"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// inCloud is a snapshot of scenarios/csp.yaml with one VIP in front of both workers, and another of a Service with
// externalTrafficPolicy Local and its endpoint on w1.
func inCloud(t *testing.T) observe.Snapshot {
	t.Helper()
	plan := plantest.Plan(t, "csp")
	s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{}, nil, nil)
	s.Services[workload.ServiceLB] = observe.Service{VIP: "203.0.113.200", Proxied: true, Ready: []string{"echo-w1", "echo-w2"}, Nodes: []string{"w1", "w2"}}
	s.Services[workload.ServiceLBLocal] = observe.Service{VIP: "203.0.113.201", Proxied: true, Ready: []string{"echo-w1"}, Nodes: []string{"w1"}}
	s.Behind = []string{"w1", "w2"}
	return s
}

// finds is what the load balancer says of a VIP with some healthy Nodes.
func finds(vip string, healthy ...string) agent.Result {
	state := balancer.State{Target: balancer.Target{Balancers: []balancer.Balancer{{VIP: netip.MustParseAddr(vip), Listeners: []balancer.Listener{{Protocol: "tcp", Port: 80, Check: balancer.Check{Port: 30080}}}}}}}
	for _, n := range []string{"w1", "w2"} {
		state.Health = append(state.Health, balancer.Health{Node: balancer.Node{Name: n}, Check: balancer.Check{Port: 30080}, Healthy: slices.Contains(healthy, n)})
	}
	return agent.Result{Outcome: agent.Reply, Answers: []agent.Answer{{Outcome: agent.Reply, Balancer: &state}}}
}

// A VIP outside the cluster passes only if its host answers ARP for it, and forwards to the right Nodes.
func TestExternalVIPs(t *testing.T) {
	s := inCloud(t)
	cloud, _ := s.Plan.Machine("cloud")
	w1, _ := s.Plan.Machine("w1")
	arp := func(macs ...string) agent.Result {
		return agent.Result{Outcome: agent.Reply, Answers: []agent.Answer{{Outcome: agent.Reply, MACs: macs}}}
	}
	none := agent.Result{Outcome: agent.Unreachable, Error: "no load balancer has it"}
	both, one := s.Services[workload.ServiceLB].VIP, s.Services[workload.ServiceLBLocal].VIP
	for name, x := range map[string]struct {
		service  string
		arp      agent.Result
		balancer agent.Result
		wrong    string // properties that are not as expected
	}{
		"well":                 {workload.ServiceLB, arp(cloud.NICs[0].MAC), finds(both, "w1", "w2"), ""},
		"Local":                {workload.ServiceLBLocal, arp(cloud.NICs[0].MAC), finds(one, "w1"), ""},
		"a Node is out":        {workload.ServiceLB, arp(cloud.NICs[0].MAC), finds(both, "w2"), "healthyNodes: w2, for port 80/tcp by TCP 30080"},
		"all are out":          {workload.ServiceLB, arp(cloud.NICs[0].MAC), finds(both), "healthyNodes: none, for port 80/tcp by TCP 30080"},
		"one without endpoint": {workload.ServiceLBLocal, arp(cloud.NICs[0].MAC), finds(one, "w1", "w2"), "healthyNodes: w1 w2, for port 80/tcp by TCP 30080"},
		"not programmed":       {workload.ServiceLB, arp(cloud.NICs[0].MAC), none, "healthyNodes: unreachable (no load balancer has it)"},
		"another answers":      {workload.ServiceLB, arp(w1.NICs[0].MAC), finds(both, "w1", "w2"), "vipOwner: w1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := rowTo(t, s, OutsideToLoadBalancer, x.service)
			asks, err := AsksOf(s, r)
			if err != nil || !slices.ContainsFunc(asks, func(a Ask) bool { return a.Part == PartBalancer && a.From.Name == "cloud" }) {
				t.Fatalf("asked is %+v (%v)", asks, err)
			}
			var wrong []string
			for _, p := range (VIPAnnounced{}).Judge(s, r, Answers{PartARP: x.arp, PartBalancer: x.balancer}) {
				if !p.OK {
					wrong = append(wrong, string(p.Key)+": "+p.Observed)
				}
			}
			if got := strings.Join(wrong, "; "); got != x.wrong {
				t.Errorf("not as expected: %s, want %s", got, x.wrong)
			}
		})
	}
	s.Off, s.Away = []string{"cloud"}, map[string]string{"cloud": "cloud is off"}
	r := rowTo(t, s, OutsideToLoadBalancer, workload.ServiceLB)
	if asks, err := AsksOf(s, r); err != nil || slices.ContainsFunc(asks, func(a Ask) bool { return a.Part == PartBalancer }) {
		t.Errorf("a load balancer that is off is asked: %+v (%v)", asks, err)
	}
	if got := away(Case{Facts: Facts{Snapshot: s}, Judged: Judged{Row: r}}); got != "cloud is off" {
		t.Errorf("the reason for the missing answer is %q", got)
	}
}

// A Pod sees the load balancer for its client, or a Node that translated its address once more.
func TestSourcesBehindExternalVIPs(t *testing.T) {
	s := inCloud(t)
	cloud, _ := s.Plan.Machine("cloud")
	from := cloud.Address().String()
	for _, x := range []struct {
		service, source string
		ok              bool
	}{
		{workload.ServiceLB, from, true}, {workload.ServiceLB, "172.30.0.11", true}, {workload.ServiceLB, "203.0.113.100", false},
		{workload.ServiceLBLocal, from, true}, {workload.ServiceLBLocal, "172.30.0.11", false}, {workload.ServiceLBLocal, "203.0.113.100", false},
	} {
		r := rowTo(t, s, OutsideToLoadBalancer, x.service)
		a := agent.Answer{Outcome: agent.Reply, Status: 200, Seen: &agent.Seen{Name: "echo-w1", Remote: x.source}}
		for _, c := range []ClientIP{{Is: ClientOrNode, Local: Kept, VIP: true}, {Is: ShortCut, VIP: true}} {
			p := c.Judge(s, r, Answers{PartMain: {Outcome: agent.Reply, Answers: []agent.Answer{a}}})
			if len(p) != 1 || p[0].Key != report.KeySource || p[0].OK != x.ok {
				t.Errorf("%s from %s: %+v, want %t", x.service, x.source, p, x.ok)
			}
		}
	}
}
