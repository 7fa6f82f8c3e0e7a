package run

import (
	"context"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// reach verifies the reachability paths of a plan on a network.
func reach(t *testing.T, plan topology.Plan, support components.Support, s observe.State, upset func(from string, p agent.Probe, r *agent.Result) *agent.Result) (observe.Snapshot, []*attempt) {
	t.Helper()
	w := observetest.Snapshot(plan, support, s)
	n := observetest.Network{W: w, Upset: upset}
	r := verification{snapshot: w, settle: time.Millisecond, ask: func(_ context.Context, s observe.Station, probes []agent.Probe) ([]agent.Result, error) {
		return n.Ask(s, probes), nil
	}}
	var paths []checks.Row
	for _, p := range checks.Rows(plan, support) {
		if p.Policy() == nil {
			paths = append(paths, p)
		}
	}
	rows := r.all(context.Background(), paths)
	checks.Explain(context.Background(), w, func(context.Context) observe.State { return s }, r.reaches, judgedOf(rows))
	return w, rows
}

// TestHealthy: in a healthy cluster every path passes, in every kind of lab.
func TestHealthy(t *testing.T) {
	for _, scenario := range []string{"quickstart", "single-node", "no-lb", "nodeport", "routed-client", "small-network", "minimal", "jumbo", "spine-leaf", "metallb-bgp", "haproxy", "csp"} {
		for name, support := range map[string]components.Support{"flannel": plantest.Flannel(), "enforcing": plantest.Enforcing()} {
			plan := plantest.Plan(t, scenario)
			_, rows := reach(t, plan, support, observetest.Healthy(plan), nil)
			for _, x := range rows {
				if x.Finding.Outcome != report.Pass && x.Row.Skip == "" {
					t.Errorf("%s, %s: %s %s → %s: %s: %s", scenario, name, x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.Finding.Outcome, x.Finding.Reason)
				}
				if x.command == "" && x.Row.Skip == "" {
					t.Errorf("%s: %s has no command", scenario, x.Row.ID)
				}
				if x.tries > 1 {
					t.Errorf("%s: %s took %d tries", scenario, x.Row.ID, x.tries)
				}
			}
		}
	}
}

// TestEachPathCanFail: a network that answers nothing fails every path that should be
// reachable, and makes every other broken because its control fails; one that answers
// everything fails those. Between them, the labs have every path.
func TestEachPathCanFail(t *testing.T) {
	failed := map[string]bool{}
	for _, scenario := range []string{"metallb-bgp", "haproxy"} {
		t.Run(scenario, func(t *testing.T) { eachFails(t, plantest.Plan(t, scenario), failed) })
	}
	for _, id := range checks.IDs() {
		if c, _ := checks.Find(id); c.Policy == nil && c.Measurement == nil && !failed[id] {
			t.Errorf("no lab of this test has the path %s", id)
		}
	}
}

func eachFails(t *testing.T, plan topology.Plan, failed map[string]bool) {
	_, rows := reach(t, plan, plantest.Flannel(), observetest.Healthy(plan), func(string, agent.Probe, *agent.Result) *agent.Result {
		r := observetest.Silence(agent.Timeout, "i/o timeout")
		return &r
	})
	for _, x := range rows {
		if x.Row.Skip != "" {
			continue
		}
		failed[x.Row.ID] = true
		want := report.Fail
		if x.Row.Expected == report.Unreachable {
			want = report.Broken
		}
		if x.Finding.Outcome != want {
			t.Errorf("silence: %s %s → %s: %s, want %s", x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.Finding.Outcome, want)
		}
		if x.Finding.Reason == "" {
			t.Errorf("silence: %s has no reason", x.Row.ID)
		}
		if want == report.Fail && x.tries < 2 {
			t.Errorf("silence: %s failed at its first try", x.Row.ID)
		}
	}
	_, rows = reach(t, plan, plantest.Flannel(), observetest.Healthy(plan), func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
		if r.Outcome == agent.Reply {
			return nil
		}
		a := observetest.AnswersOf(observetest.Reply("echo-w1", "w1", "172.30.0.20"))
		return &a
	})
	for _, x := range rows {
		if x.Row.Expected == report.Unreachable && x.Finding.Outcome != report.Fail {
			t.Errorf("everything answers: %s %s → %s: %s, want fail", x.Row.ID, x.Row.From.Name, x.Row.To.Name, x.Finding.Outcome)
		}
		if x.Row.Expected == report.Unreachable && x.tries != 1 {
			t.Errorf("%s: an unexpected reply was tried %d times", x.Row.ID, x.tries)
		}
	}
	_, rows = reach(t, plan, plantest.Flannel(), observetest.Healthy(plan), func(string, agent.Probe, *agent.Result) *agent.Result {
		r := observetest.Silence(agent.Broken, "too many open files")
		return &r
	})
	for _, x := range rows {
		if x.Row.Skip == "" && x.Finding.Outcome != report.Broken || x.Row.Skip == "" && !strings.Contains(x.Finding.Reason, "too many open files") {
			t.Errorf("broken probes: %s: %s %q", x.Row.ID, x.Finding.Outcome, x.Finding.Reason)
		}
	}
}

// TestProperties: a reply is not enough; each asserted property can fail on its own.
func TestProperties(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	edit := func(change func(a *agent.Answer)) func(string, agent.Probe, *agent.Result) *agent.Result {
		return func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
			for i := range r.Answers {
				change(&r.Answers[i])
			}
			return nil
		}
	}
	only := func(kind string, other agent.Result) func(string, agent.Probe, *agent.Result) *agent.Result {
		return func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
			if p.Kind == kind {
				return &other
			}
			return nil
		}
	}
	source := func(ip string) func(string, agent.Probe, *agent.Result) *agent.Result {
		return edit(func(a *agent.Answer) {
			if a.Seen != nil {
				a.Seen.Remote = ip
			}
		})
	}
	node := plan.Nodes()[1].Address().String()
	rows := []struct {
		name   string
		upset  func(string, agent.Probe, *agent.Result) *agent.Result
		to     string // Path.To.Name; any when empty
		fails  []string
		reason string
	}{
		{"SNAT between Pods", source(node), "", []string{checks.PodToPodSameNode, checks.PodToPodCrossNode, checks.PodToHeadless, checks.PodToClusterIP}, "source seen: expected 10.244."},
		{"no SNAT on the way out", source("10.244.1.2"), "", []string{checks.PodToOutside, checks.PodToExternalName}, "(w1), observed 10.244.1.2"},
		{"SNAT under Local", source(node), workload.ServiceNodePortLocal, []string{checks.OutsideToNodePort}, "(kept), observed " + node},
		{"SNAT under Local at the VIP", source(node), workload.ServiceLBLocal, []string{checks.OutsideToLoadBalancer}, "(kept), observed " + node},
		{"a stranger's address at the VIP", source("192.0.2.9"), workload.ServiceLB, []string{checks.OutsideToLoadBalancer}, "or a Node's, observed 192.0.2.9"},
		{"another source on localhost", source("10.244.1.2"), "", []string{checks.ContainerToContainer}, "expected 127.0.0.1"},
		{"another agent answers", edit(func(a *agent.Answer) {
			if a.Seen != nil {
				a.Seen.Name = "impostor"
			}
		}), "", []string{checks.ContainerToContainer, checks.PodToPodSameNode, checks.PodToPodCrossNode, checks.NodeToPod, checks.PodToNode, checks.PodHairpin, checks.PodToClusterIP, checks.PodToHeadless,
			checks.PodToNodePort, checks.OutsideToLoadBalancer, checks.PodToOutside, checks.PodToExternalName}, "observed impostor"},
		{"no agent answers", edit(func(a *agent.Answer) {
			if a.Seen != nil {
				a.Seen, a.Status = nil, 503
			}
		}), "", []string{checks.PodToPodSameNode}, "HTTP status 503"},
		{"ports are not shared", only(agent.Bind, observetest.AnswersOf(agent.Answer{Outcome: agent.Reply})), "", []string{checks.ContainerToContainer}, "port space"},
		{"MTU too small", only(agent.MTU, observetest.AnswersOf(agent.Answer{Outcome: agent.Reply, Payload: 1372})), "", []string{checks.PodToPodCrossNode},
			"largest unfragmented payload: expected 1422 bytes of UDP, observed 1372"},
		{"MTU not found", only(agent.MTU, observetest.Silence(agent.Timeout, "i/o timeout")), "", []string{checks.PodToPodCrossNode}, "observed no reply in time"},
		{"no ARP reply", only(agent.ARP, observetest.Silence(agent.Timeout, "no ARP reply on eth0")), "", []string{checks.OutsideToLoadBalancer, checks.OutsideToIngressHTTP}, "no ARP reply for 172.30.0.20"},
		{"two answer ARP", only(agent.ARP, observetest.AnswersOf(agent.Answer{Outcome: agent.Reply, MACs: []string{plan.Nodes()[1].NICs[0].MAC, plan.Nodes()[2].NICs[0].MAC}})), workload.ServiceLB,
			[]string{checks.OutsideToLoadBalancer}, "observed w1 and w2"},
		{"a stranger answers ARP", only(agent.ARP, observetest.AnswersOf(agent.Answer{Outcome: agent.Reply, MACs: []string{"02:00:00:00:00:99"}})), "",
			[]string{checks.OutsideToLoadBalancer}, "unknown MAC 02:00:00:00:00:99"},
		{"a Node without endpoint owns a Local VIP", only(agent.ARP, observetest.AnswersOf(agent.Answer{Outcome: agent.Reply, MACs: []string{plan.Nodes()[2].NICs[0].MAC}})), workload.ServiceLBLocal,
			[]string{checks.OutsideToLoadBalancer}, "a Node with an endpoint, observed w2"},
		{"NXDOMAIN", only(agent.DNS, observetest.AnswersOf(agent.Answer{Outcome: agent.Reply, DNS: &agent.DNSAnswer{Name: "x.", Code: "NXDOMAIN"}})), "",
			[]string{checks.DNSService, checks.DNSExternal, checks.PodToHeadless, checks.PodToExternalName}, ""},
		{"a wrong record", only(agent.DNS, observetest.AnswersOf(agent.Answer{Outcome: agent.Reply, DNS: &agent.DNSAnswer{Name: "echo." + workload.Namespace + ".svc.cluster.local.", Code: "NOERROR",
			Records: []agent.Record{{Type: "A", Value: "192.0.2.1"}}}})), "", []string{checks.DNSService}, "A record: expected 10.96.1.1, observed 192.0.2.1"},
		{"one endpoint gets nothing", edit(func(a *agent.Answer) {
			if a.Seen != nil && a.Seen.Name == "echo-w2" {
				a.Seen.Name = "echo-w1"
			}
		}), "", []string{checks.PodToClusterIP}, "every ready endpoint answers: expected echo-cp echo-w1 echo-w2, observed echo-cp echo-w1"},
		{"one endpoint of three is silent", func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
			if p.Count < 50 {
				return nil
			}
			for i := range r.Answers {
				if r.Answers[i].Seen.Name == "echo-w2" {
					r.Answers[i] = agent.Answer{Outcome: agent.Timeout}
				}
			}
			return nil
		}, "", []string{checks.PodToClusterIP}, "20 of 60 requests failed: no reply in time; no answer from echo-w2"},
		{"a datagram in fragments is lost", func(_ string, p agent.Probe, _ *agent.Result) *agent.Result {
			if p.Size == 0 {
				return nil
			}
			r := observetest.Silence(agent.Timeout, "i/o timeout")
			return &r
		}, "", []string{checks.PodToClusterIPUDP, checks.PodToNodePortUDP, checks.OutsideToNodePortUDP, checks.OutsideToLoadBalancerUDP},
			"datagram of 3000 bytes: expected 3000 bytes, observed no reply in time"},
		{"a datagram in fragments is cut", edit(func(a *agent.Answer) {
			if a.Seen != nil && a.Seen.Bytes == 3000 {
				a.Seen.Bytes = 1472
			}
		}), "", []string{checks.PodToClusterIPUDP}, "observed 1472 bytes"},
		{"UDP is not balanced", func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
			for i := range r.Answers {
				if p.Kind == agent.UDP && r.Answers[i].Seen != nil {
					r.Answers[i].Seen.Name = "echo-w1"
				}
			}
			return nil
		}, "", []string{checks.PodToClusterIPUDP}, "every ready endpoint answers: expected echo-cp echo-w1 echo-w2, observed echo-w1"},
		{"UDP is not served", func(_ string, p agent.Probe, _ *agent.Result) *agent.Result {
			if p.Kind != agent.UDP {
				return nil
			}
			r := observetest.Silence(agent.Refused, "connection refused")
			return &r
		}, "", []string{checks.PodToClusterIPUDP, checks.PodToNodePortUDP, checks.OutsideToNodePortUDP, checks.OutsideToLoadBalancerUDP}, "refused"},
		{"a VIP serves UDP alone", func(from string, p agent.Probe, _ *agent.Result) *agent.Result {
			if from != "client" || p.Kind != agent.HTTP || p.Count > 1 {
				return nil
			}
			r := observetest.Silence(agent.Timeout, "i/o timeout")
			return &r
		}, "", []string{checks.OutsideToLoadBalancerUDP}, "TCP on the same VIP: expected a reply, observed no reply in time"},
		{"no session affinity", func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
			if p.Count == 20 && r.Answers[0].Seen != nil {
				r.Answers[19].Seen.Name = "echo-w2"
			}
			return nil
		}, "", []string{checks.Affinity}, "one endpoint answers every request: expected only one of echo-cp echo-w1 echo-w2, observed echo-cp echo-w2"},
		{"SNAT at a hostPort", source(node), "", []string{checks.OutsideToHostPort}, "(kept), observed " + node},
		{"a hostPort that leads nowhere", func(from string, p agent.Probe, r *agent.Result) *agent.Result {
			if from != "client" || !strings.Contains(p.Target, ":29644") {
				return nil
			}
			other := observetest.Silence(agent.Refused, "connection refused")
			return &other
		}, "", []string{checks.OutsideToHostPort}, "refused"},
		{"a detour to the VIP", source(plan.Nodes()[2].Address().String()), "", []string{checks.PodToLoadBalancer}, "its Node's 172.30.0.1"},
		{"another CA", edit(func(a *agent.Answer) {
			if a.Certificate != nil {
				a.Certificate.DER = []byte{1}
			}
		}), "", []string{checks.PodToAPI}, "certificate: expected signed by the cluster's CA for kubernetes.default.svc, observed not a certificate"},
		{"the API server is away", edit(func(a *agent.Answer) {
			if a.Certificate != nil {
				a.Status = 503
			}
		}), "", []string{checks.PodToAPI}, "status: expected 200 or 401, observed 503"},
		{"another certificate", edit(func(a *agent.Answer) {
			if a.Certificate != nil {
				a.Certificate = &agent.Certificate{SHA256: "bad", DNSNames: []string{"ingress.local"}}
			}
		}), "a.netlab.test/one", []string{checks.OutsideToIngressHTTPS, checks.PodToIngress}, "observed for ingress.local"},
		{"an answer for an unknown host", edit(func(a *agent.Answer) {
			if a.Status == 404 {
				a.Status = 200
			}
		}), workload.UnknownHost + "/", []string{checks.OutsideToIngressHTTP, checks.OutsideToIngressHTTPS}, "expected 404, observed 200"},
		{"the wrong backend", edit(func(a *agent.Answer) {
			if a.Seen != nil && a.Certificate != nil {
				a.Seen.Name = map[string]string{"echo-w1": "echo-w2", "echo-cp": "echo-w2", "echo-w2": "echo-w1"}[a.Seen.Name]
			}
		}), "a.netlab.test/one", []string{checks.OutsideToIngressHTTP, checks.OutsideToIngressHTTPS, checks.PodToIngress}, "observed echo-w2"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, got := reach(t, plan, plantest.Flannel(), observetest.Healthy(plan), r.upset)
			for _, id := range r.fails {
				matched, said := 0, false
				for _, x := range got {
					if x.Row.ID != id || r.to != "" && x.Row.To.Name != r.to || x.Row.Expected == report.Unreachable {
						continue
					}
					matched++
					// A source or a substitute that is right by chance for one row of many does not count.
					if x.Finding.Outcome == report.Fail {
						said = said || strings.Contains(x.Finding.Reason, r.reason)
					}
				}
				if matched == 0 || !said {
					for _, x := range got {
						if x.Row.ID == id {
							t.Logf("%s → %s: %s %s", x.Row.From.Name, x.Row.To.Name, x.Finding.Outcome, x.Finding.Reason)
						}
					}
					t.Errorf("%s (%d rows): no failure that says %q", id, matched, r.reason)
				}
			}
		})
	}
}

// TestHairpinOfAVIP: a Pod that its cluster's VIP leads back to sees a rewritten source; the
// same address is wrong where another Pod answers.
func TestHairpinOfAVIP(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	hairpin := func(from string, _ agent.Probe, r *agent.Result) *agent.Result {
		for i, a := range r.Answers {
			if a.Seen != nil && a.Seen.Name == from {
				r.Answers[i].Seen.Remote = "169.254.42.1"
			}
		}
		return nil
	}
	own := 0
	_, got := reach(t, plan, plantest.Flannel(), observetest.Healthy(plan), hairpin)
	for _, x := range got {
		if x.Row.ID != checks.PodToLoadBalancer {
			continue
		}
		if x.Finding.Observed.SourceIP == "169.254.42.1" {
			own++
		}
		if x.Finding.Outcome != report.Pass {
			t.Errorf("%s → %s: %s", x.Row.From.Name, x.Row.To.Name, x.Finding.Reason)
		}
	}
	if own == 0 {
		t.Error("no Pod reached itself")
	}
}

// TestVIPOutsidePool: a VIP from outside the pool.
func TestVIPOutsidePool(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observetest.Healthy(plan)
	s.Service(workload.Namespace, workload.ServiceLB).Status.LoadBalancer.Ingress[0].IP = "172.30.0.99"
	_, rows := reach(t, plan, plantest.Flannel(), s, nil)
	asked := 0
	for _, x := range rows {
		if x.Row.ID == checks.OutsideToLoadBalancer && x.Row.To.Name == workload.ServiceLB {
			asked++
			if x.Finding.Outcome != report.Fail || x.Finding.Reason != "VIP in the pool: expected 172.30.0.200-172.30.0.219, observed 172.30.0.99" {
				t.Errorf("%s: %s", x.Finding.Outcome, x.Finding.Reason)
			}
		}
	}
	if asked == 0 {
		t.Error("no row goes to the VIP")
	}
}
