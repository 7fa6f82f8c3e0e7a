package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/frr"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// routed is a snapshot of scenarios/metallb-bgp.yaml in which w1 and w2 announce one VIP, and w1
// another, of a Service with externalTrafficPolicy Local.
func routed(t *testing.T) observe.Snapshot {
	t.Helper()
	plan := plantest.Plan(t, "metallb-bgp")
	s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{}, nil, nil)
	s.Services[workload.ServiceLB] = observe.Service{VIP: "198.51.100.1"}
	s.Services[workload.ServiceLBLocal] = observe.Service{VIP: "198.51.100.2"}
	one, two := netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("198.51.100.2/32")
	s.Announced = map[string][]netip.Prefix{"w1": {one, two}, "w2": {one}}
	for i, node := range []string{"cp", "w1", "w2"} {
		s.PodCIDRs[node] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)
	}
	return s
}

// rowTo finds a row of a path by its end.
func rowTo(t *testing.T, s observe.Snapshot, id, to string) Row {
	t.Helper()
	rows := Rows(s.Plan, s.Support)
	i := slices.IndexFunc(rows, func(r Row) bool { return r.ID == id && r.To.Name == to })
	if i < 0 {
		t.Fatalf("no row %s to %s", id, to)
	}
	return rows[i]
}

func hops(kernel, bgp string) agent.Result {
	list := func(text string) (all []netip.Addr) {
		for word := range strings.FieldsSeq(text) {
			all = append(all, netip.MustParseAddr(word))
		}
		return all
	}
	return agent.Result{Outcome: agent.Reply, Answers: []agent.Answer{{Outcome: agent.Reply, Hops: &agent.Hops{Kernel: list(kernel), BGP: list(bgp)}}}}
}

// A session passes only as planned: established, with the planned AS and exactly the prefixes that
// the Node should announce.
func TestSessionsAreJudged(t *testing.T) {
	s := routed(t)
	r := rowTo(t, s, BGPSession, "w1")
	asks, err := AsksOf(s, r)
	if err != nil || len(asks) != 1 || asks[0].Probe.Kind != agent.BGP || asks[0].Probe.Target != "172.30.0.11" || asks[0].From.Name != "router" {
		t.Fatalf("asked is %+v (%v)", asks, err)
	}
	good := agent.Session{Session: frr.Session{State: frr.Established, ASN: 64501},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("198.51.100.2/32")}}
	few, other, theirs, strange := good, good, good, good
	few.Prefixes, other.ASN = good.Prefixes[:1], 64999
	s.Strange = []netip.Prefix{netip.MustParsePrefix("10.9.0.1/32")}
	theirs.Prefixes = slices.Concat(s.Strange, good.Prefixes)
	strange.Prefixes = slices.Concat([]netip.Prefix{netip.MustParsePrefix("10.9.0.2/32")}, good.Prefixes)
	if f := Judge(s, r, Answers{PartMain: {Outcome: agent.Reply, Answers: []agent.Answer{{Session: &theirs}}}}); f.Outcome != report.Pass {
		t.Errorf("with a VIP of the user's pool: %s", f.Reason)
	}
	for want, result := range map[string]agent.Result{
		"": {Outcome: agent.Reply, Answers: []agent.Answer{{Session: &good}}},
		"prefixes accepted: expected 198.51.100.1/32 198.51.100.2/32, observed 198.51.100.1/32":                             {Outcome: agent.Reply, Answers: []agent.Answer{{Session: &few}}},
		"prefixes accepted: expected 198.51.100.1/32 198.51.100.2/32, observed 10.9.0.2/32 198.51.100.1/32 198.51.100.2/32": {Outcome: agent.Reply, Answers: []agent.Answer{{Session: &strange}}},
		"BGP session: expected Established, AS 64501, observed Established, AS 64999":                                       {Outcome: agent.Reply, Answers: []agent.Answer{{Session: &other}}},
		"unreachable (no BGP session with 172.30.0.11 (Idle))":                                                              {Outcome: agent.Unreachable, Error: "no BGP session with 172.30.0.11 (Idle)", Answers: []agent.Answer{{}}},
	} {
		f := Judge(s, r, Answers{PartMain: result})
		if f.Reason != want || (f.Outcome == report.Pass) != (want == "") {
			t.Errorf("%s: %q, want %q", f.Outcome, f.Reason, want)
		}
	}
	watched := plantest.Plan(t, "spine-leaf")
	s = observe.New(watched, plantest.Flannel(), Pods(watched), observe.State{}, nil, nil)
	r = rowTo(t, s, BGPSession, "spine1")
	up := agent.Session{Session: frr.Session{State: frr.Established, ASN: 64503}, Prefixes: watched.Routes(nil).Received("leaf1", r.planned(watched))}
	down := up
	up.BFD, down.BFD = &frr.BFD{Status: frr.Up}, &frr.BFD{Status: "down"}
	for want, session := range map[string]agent.Session{"": up, "BFD: expected up, observed down": down} {
		if f := Judge(s, r, Answers{PartMain: {Outcome: agent.Reply, Answers: []agent.Answer{{Session: &session}}}}); f.Reason != want {
			t.Errorf("%s: %q, want %q", f.Outcome, f.Reason, want)
		}
	}
}

// The next hops of a VIP are the Nodes that should announce it, in the kernel and of BGP.
func TestNextHopsAreJudged(t *testing.T) {
	s := routed(t)
	const w1, both = "172.30.0.11", "172.30.0.11 172.30.0.12"
	for _, c := range []struct {
		id, service string
		answer      agent.Result
		want        string
	}{
		{RouterToVIP, workload.ServiceLB, hops(both, both), ""},
		{RouterToVIP, workload.ServiceLBLocal, hops(w1, w1), ""},
		{RouterToVIP, workload.ServiceLB, hops(w1, w1), "next hops of router: expected w1 w2, observed w1"},
		{RouterToVIP, workload.ServiceLB, hops(w1, both), "next hops of router: expected w1 w2, observed w1 in the kernel, w1 w2 of BGP"},
		{RouterToVIP, workload.ServiceLBLocal, hops(both, both), "next hops of router: expected w1, observed w1 w2"},
		{RouterToVIP, workload.ServiceLB, agent.Result{Outcome: agent.Unreachable, Error: "no route", Answers: []agent.Answer{{}}}, "next hops of router: expected w1 w2, observed unreachable (no route)"},
		{OutsideToLoadBalancer, workload.ServiceLB, hops(w1, w1), "next hops of router: expected w1 w2, observed w1"},
		{OutsideToLoadBalancer, workload.ServiceLB, hops(both, both), ""},
	} {
		r := rowTo(t, s, c.id, c.service)
		asks, err := AsksOf(s, r)
		i := slices.IndexFunc(asks, func(a Ask) bool { return a.Part == PartRoute })
		if err != nil || i < 0 || asks[i].From.Name != "router" || asks[i].Probe.Target != s.Services[c.service].VIP+"/32" {
			t.Fatalf("asked is %+v (%v)", asks, err)
		}
		got := Answers{PartRoute: c.answer}
		reasons := []string{}
		for _, a := range r.check().Asserts {
			for _, p := range a.Judge(s, r, got) {
				if !p.OK {
					reasons = append(reasons, p.Name+": expected "+p.Expected+", observed "+p.Observed)
				}
			}
		}
		if got := strings.Join(reasons, "; "); got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.id, c.service, got, c.want)
		}
	}
}

// The reason for a client without a reply names the router that has no route.
func TestWrongHopsExplainSilence(t *testing.T) {
	s := routed(t)
	r := rowTo(t, s, OutsideToLoadBalancer, workload.ServiceLB)
	silent := agent.Result{Outcome: agent.Timeout, Error: "i/o timeout", Answers: []agent.Answer{{}}}
	for kernel, want := range map[string]string{"": "next hops of router: expected w1 w2, observed none", "172.30.0.11 172.30.0.12": ""} {
		f := Judge(s, r, Answers{PartMain: silent, PartRoute: hops(kernel, kernel)})
		if got := wrongHops(Case{Judged: Judged{Row: r, Finding: f}}); f.Outcome != report.Fail || got != want {
			t.Errorf("next hops %q: %s, because of %q, want %q", kernel, f.Outcome, got, want)
		}
	}
}

// Each path to a VIP has the communities of the lab file, in any order.
func TestCommunitiesAreJudged(t *testing.T) {
	s := routed(t)
	bgp := *s.Plan.LoadBalancer.BGP
	bgp.Communities = []string{"64501:200", "64501:100"}
	s.Plan.LoadBalancer.BGP = &bgp
	r := rowTo(t, s, RouterToVIP, workload.ServiceLB)
	for got, want := range map[string]string{
		"64501:100 64501:200|64501:200 64501:100": "ok", "64501:100 64501:200|": "64501:100 64501:200, none", "64501:100": "64501:100", "": "none",
	} {
		answer := hops("172.30.0.11 172.30.0.12", "172.30.0.11 172.30.0.12")
		answer.Answers[0].Hops.Communities = strings.Split(got, "|")
		is := "no property"
		for _, p := range (NextHops{}).Judge(s, r, Answers{PartRoute: answer}) {
			if p.Key != report.KeyCommunities {
				continue
			}
			if is = p.Observed; p.OK {
				is = "ok"
			}
		}
		if is != want {
			t.Errorf("%q: %s, want %s", got, is, want)
		}
	}
}

// Flows come in at every next hop: the backend sees the address of the Node that translated them.
func TestFlowsAreSpread(t *testing.T) {
	s := routed(t)
	r := rowTo(t, s, RouterToVIP, workload.ServiceLB)
	for sources, want := range map[string]string{
		"10.244.1.0 10.244.2.1": "ok", "10.244.1.0 10.244.1.1": "w1", "172.30.0.11 172.30.0.12": "ok",
		"172.30.0.11": "w1", "172.30.0.1 10.244.1.0": "no property",
	} {
		main := agent.Result{Outcome: agent.Reply}
		for ip := range strings.FieldsSeq(sources) {
			main.Answers = append(main.Answers, agent.Answer{Outcome: agent.Reply, Status: 200, Seen: &agent.Seen{Name: "echo-w1", Remote: ip}})
		}
		got := "no property"
		for _, p := range (Spread{}).Judge(s, r, Answers{PartMain: main}) {
			if got = p.Observed; p.OK {
				got = "ok"
			}
		}
		if got != want {
			t.Errorf("sources %s: %s, want %s", sources, got, want)
		}
	}
	if got := (Spread{}).Judge(s, rowTo(t, s, RouterToVIP, workload.ServiceLBLocal), Answers{PartMain: {Outcome: agent.Reply}}); got != nil {
		t.Errorf("one next hop: %+v", got)
	}
}

// Which Nodes should announce which VIPs: not those excluded by their label, whose network is not
// available, that are off, or that have no endpoint under externalTrafficPolicy Local.
func TestAnnounced(t *testing.T) {
	plan := plantest.Plan(t, "metallb-bgp")
	node := func(name string, labels map[string]string, conditions ...corev1.NodeCondition) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Status: corev1.NodeStatus{Conditions: conditions}}
	}
	excluded := map[string]string{corev1.LabelNodeExcludeBalancers: ""}
	state := observe.State{Nodes: []*corev1.Node{node("cp", excluded), node("w1", nil), node("w2", nil)}}
	add := func(name, vip string, policy corev1.ServiceExternalTrafficPolicy, on ...string) {
		state.Services = append(state.Services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "user", Name: name},
			Spec:   corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: policy},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: vip}}}}})
		addEndpoints(&state, name, on...)
	}
	add("all", "198.51.100.1", corev1.ServiceExternalTrafficPolicyCluster, "cp")
	add("local", "198.51.100.2", corev1.ServiceExternalTrafficPolicyLocal, "cp", "w2")
	add("none", "198.51.100.3", corev1.ServiceExternalTrafficPolicyCluster)
	add("other", "10.9.0.1", corev1.ServiceExternalTrafficPolicyCluster, "w1")
	announced := func() string {
		s := observe.New(plan, plantest.Flannel(), Pods(plan), state, nil, nil)
		var out []string
		for _, n := range plan.Nodes() {
			if vips := s.Announced[n.Name]; len(vips) > 0 {
				out = append(out, n.Name+" "+strings.ReplaceAll(prefixesText(vips), "198.51.100.", ""))
			}
		}
		return strings.Join(out, ", ")
	}
	if got := announced(); got != "w1 1/32, w2 1/32 2/32" {
		t.Errorf("announced is %s", got)
	}
	if s := observe.New(plan, plantest.Flannel(), Pods(plan), state, nil, nil); prefixesText(s.Strange) != "10.9.0.1/32" {
		t.Errorf("VIPs of no pool of the lab are %v", s.Strange)
	}
	bgp := *plan.LoadBalancer.BGP
	bgp.AggregationLength = 28
	wide := plan
	wide.LoadBalancer.BGP = &bgp
	if s := observe.New(wide, plantest.Flannel(), Pods(plan), state, nil, nil); prefixesText(s.Announced["w2"]) != "198.51.100.0/28" {
		t.Errorf("w2 announces %v", s.Announced["w2"])
	}
	state.Nodes[1] = node("w1", nil, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue})
	if got := announced(); got != "w2 1/32 2/32" {
		t.Errorf("without the network of w1 announced is %s", got)
	}
	state.Off = []string{"w2"}
	if got := announced(); got != "" {
		t.Errorf("without w2 announced is %s", got)
	}
	if s := observe.New(plantest.Plan(t, "quickstart"), plantest.Flannel(), Pods(plan), state, nil, nil); s.Announced != nil {
		t.Errorf("VIPs by ARP are announced to routers: %v", s.Announced)
	}
}

// With aggregationLength Nodes announce what VIPs share; VIPs of externalTrafficPolicy Local are then not
// asked from outside, since any Node may get their packets.
func TestAggregated(t *testing.T) {
	s := routed(t)
	bgp := *s.Plan.LoadBalancer.BGP
	bgp.AggregationLength = 24
	s.Plan.LoadBalancer.BGP = &bgp
	all := netip.MustParsePrefix("198.51.100.0/24")
	s.Announced = map[string][]netip.Prefix{"w1": {all}, "w2": {all}}
	r := rowTo(t, s, RouterToVIP, workload.ServiceLB)
	asks, err := AsksOf(s, r)
	if err != nil || asks[len(asks)-1].Probe.Target != "198.51.100.0/24" {
		t.Errorf("asked is %+v (%v)", asks, err)
	}
	const both = "172.30.0.11 172.30.0.12"
	if p := (NextHops{}).Judge(s, r, Answers{PartRoute: hops(both, both)}); len(p) != 1 || !p[0].OK {
		t.Errorf("next hops are %+v", p)
	}
	for _, id := range []string{RouterToVIP, OutsideToLoadBalancer, OutsideToLoadBalancer + "-udp"} {
		if r := rowTo(t, s, id, workload.ServiceLBLocal); !strings.Contains(r.Skip, "aggregationLength 24") {
			t.Errorf("%s to %s is skipped for %q", id, workload.ServiceLBLocal, r.Skip)
		}
	}
}

// addEndpoints adds a Pod on each of some Nodes behind a Service of namespace user.
func addEndpoints(s *observe.State, service string, nodes ...string) {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "user", Name: service + "-x", Labels: map[string]string{workload.ServiceLabel: service}}}
	for _, node := range nodes {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "user", Name: service + "-" + node}, Spec: corev1.PodSpec{NodeName: node}}
		s.Pods = append(s.Pods, pod)
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.244.0.9"},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "user", Name: pod.Name}})
	}
	s.Slices = append(s.Slices, slice)
}
