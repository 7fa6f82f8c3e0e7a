package verify

import (
	"context"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// reach verifies the reachability paths of a plan on a network.
func reach(t *testing.T, plan topology.Plan, support components.Support, s state, upset func(from string, p agent.Probe, r *agent.Result) *agent.Result) (world, []*row) {
	t.Helper()
	w := worldOf(plan, support, s)
	n := network{w: w, upset: upset}
	r := run{world: w, settle: time.Millisecond, ask: func(_ context.Context, s station, probes []agent.Probe) ([]agent.Result, error) {
		return n.ask(s, probes), nil
	}}
	var paths []Path
	for _, p := range Paths(plan, support) {
		if !strings.HasPrefix(p.ID, "policy-") {
			paths = append(paths, p)
		}
	}
	rows := r.all(context.Background(), paths)
	explain(context.Background(), w, func(context.Context) state { return s }, r.reaches, rows)
	return w, rows
}

// TestHealthy: where all is as it should be, every path passes, in every kind of lab.
func TestHealthy(t *testing.T) {
	for _, scenario := range []string{"quickstart", "single-node", "no-lb", "nodeport", "routed-client", "small-network", "minimal", "jumbo"} {
		for name, support := range map[string]components.Support{"flannel": flannel(), "enforcing": enforcing()} {
			plan := planOf(t, scenario)
			_, rows := reach(t, plan, support, healthy(plan), nil)
			for _, x := range rows {
				if x.finding.Outcome != Pass && x.path.Skip == "" {
					t.Errorf("%s, %s: %s %s → %s: %s: %s", scenario, name, x.path.ID, x.path.From.Name, x.path.To.Name, x.finding.Outcome, x.finding.Reason)
				}
				if x.command == "" && x.path.Skip == "" {
					t.Errorf("%s: %s has no command", scenario, x.path.ID)
				}
				if x.tries > 1 {
					t.Errorf("%s: %s took %d tries", scenario, x.path.ID, x.tries)
				}
			}
		}
	}
}

// TestEachPathCanFail: a network that answers nothing fails every path that should be
// reachable, and makes every other broken for want of a control; one that answers
// everything fails those.
func TestEachPathCanFail(t *testing.T) {
	plan := planOf(t, "quickstart")
	_, rows := reach(t, plan, flannel(), healthy(plan), func(string, agent.Probe, *agent.Result) *agent.Result {
		r := silence(agent.Timeout, "i/o timeout")
		return &r
	})
	for _, x := range rows {
		want := Fail
		if x.path.Expected == Unreachable {
			want = Broken
		}
		if x.finding.Outcome != want {
			t.Errorf("silence: %s %s → %s: %s, want %s", x.path.ID, x.path.From.Name, x.path.To.Name, x.finding.Outcome, want)
		}
		if x.finding.Reason == "" {
			t.Errorf("silence: %s has no reason", x.path.ID)
		}
		if want == Fail && x.tries < 2 {
			t.Errorf("silence: %s failed at its first try", x.path.ID)
		}
	}
	_, rows = reach(t, plan, flannel(), healthy(plan), func(_ string, p agent.Probe, r *agent.Result) *agent.Result {
		if r.Outcome == agent.Reply {
			return nil
		}
		a := answersOf(reply("echo-w1", "w1", "172.30.0.20"))
		return &a
	})
	for _, x := range rows {
		if x.path.Expected == Unreachable && x.finding.Outcome != Fail {
			t.Errorf("everything answers: %s %s → %s: %s, want fail", x.path.ID, x.path.From.Name, x.path.To.Name, x.finding.Outcome)
		}
		if x.path.Expected == Unreachable && x.tries != 1 {
			t.Errorf("%s: a breach was asked for %d times", x.path.ID, x.tries)
		}
	}
	_, rows = reach(t, plan, flannel(), healthy(plan), func(string, agent.Probe, *agent.Result) *agent.Result {
		r := silence(agent.Broken, "too many open files")
		return &r
	})
	for _, x := range rows {
		if x.finding.Outcome != Broken || !strings.Contains(x.finding.Reason, "too many open files") {
			t.Errorf("broken probes: %s: %s %q", x.path.ID, x.finding.Outcome, x.finding.Reason)
		}
	}
}

// TestProperties: a reply is not enough; each asserted property can fail on its own.
func TestProperties(t *testing.T) {
	plan := planOf(t, "quickstart")
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
		{"SNAT between Pods", source(node), "", []string{PodToPodSameNode, PodToPodCrossNode, PodToHeadless, PodToClusterIP}, "source seen: expected 10.244."},
		{"no SNAT on the way out", source("10.244.1.2"), "", []string{PodToOutside, PodToExternalName}, "(w1), observed 10.244.1.2"},
		{"SNAT under Local", source(node), ServiceNodePortLocal, []string{OutsideToNodePort}, "(kept), observed " + node},
		{"SNAT under Local at the VIP", source(node), ServiceLBLocal, []string{OutsideToLoadBalancer}, "(kept), observed " + node},
		{"a stranger's address at the VIP", source("192.0.2.9"), ServiceLB, []string{OutsideToLoadBalancer}, "or a Node's, observed 192.0.2.9"},
		{"another source on localhost", source("10.244.1.2"), "", []string{ContainerToContainer}, "expected 127.0.0.1"},
		{"another agent answers", edit(func(a *agent.Answer) {
			if a.Seen != nil {
				a.Seen.Name = "impostor"
			}
		}), "", []string{ContainerToContainer, PodToPodSameNode, PodToPodCrossNode, NodeToPod, PodToNode, PodToItself, PodToClusterIP, PodToHeadless,
			PodToNodePort, OutsideToLoadBalancer, PodToOutside, PodToExternalName}, "observed impostor"},
		{"no agent answers", edit(func(a *agent.Answer) {
			if a.Seen != nil {
				a.Seen, a.Status = nil, 503
			}
		}), "", []string{PodToPodSameNode}, "HTTP status 503"},
		{"ports are not shared", only(agent.Bind, answersOf(agent.Answer{Outcome: agent.Reply})), "", []string{ContainerToContainer}, "port space"},
		{"MTU too small", only(agent.MTU, answersOf(agent.Answer{Outcome: agent.Reply, Payload: 1372})), "", []string{PodToPodCrossNode},
			"largest unfragmented payload: expected 1422 bytes of UDP, observed 1372"},
		{"MTU not found", only(agent.MTU, silence(agent.Timeout, "i/o timeout")), "", []string{PodToPodCrossNode}, "observed no reply in time"},
		{"nobody answers ARP", only(agent.ARP, silence(agent.Timeout, "nobody on eth0 answers ARP")), "", []string{OutsideToLoadBalancer, OutsideToIngressHTTP}, "nobody answers ARP for 172.30.0.20"},
		{"two answer ARP", only(agent.ARP, answersOf(agent.Answer{Outcome: agent.Reply, MACs: []string{plan.Nodes()[1].NICs[0].MAC, plan.Nodes()[2].NICs[0].MAC}})), ServiceLB,
			[]string{OutsideToLoadBalancer}, "observed w1 and w2"},
		{"a stranger answers ARP", only(agent.ARP, answersOf(agent.Answer{Outcome: agent.Reply, MACs: []string{"02:00:00:00:00:99"}})), "",
			[]string{OutsideToLoadBalancer}, "unknown station 02:00:00:00:00:99"},
		{"a Node without endpoint owns a Local VIP", only(agent.ARP, answersOf(agent.Answer{Outcome: agent.Reply, MACs: []string{plan.Nodes()[2].NICs[0].MAC}})), ServiceLBLocal,
			[]string{OutsideToLoadBalancer}, "a Node with an endpoint, observed w2"},
		{"NXDOMAIN", only(agent.DNS, answersOf(agent.Answer{Outcome: agent.Reply, DNS: &agent.DNSAnswer{Name: "x.", Code: "NXDOMAIN"}})), "",
			[]string{DNSService, DNSExternal, PodToHeadless, PodToExternalName}, ""},
		{"a wrong record", only(agent.DNS, answersOf(agent.Answer{Outcome: agent.Reply, DNS: &agent.DNSAnswer{Name: "echo." + Namespace + ".svc.cluster.local.", Code: "NOERROR",
			Records: []agent.Record{{Type: "A", Value: "192.0.2.1"}}}})), "", []string{DNSService}, "A record: expected 10.96.1.1, observed 192.0.2.1"},
		{"one endpoint gets nothing", edit(func(a *agent.Answer) {
			if a.Seen != nil && a.Seen.Name == "echo-w2" {
				a.Seen.Name = "echo-w1"
			}
		}), "", []string{PodToClusterIP}, "every ready endpoint answers: expected echo-cp echo-w1 echo-w2, observed echo-cp echo-w1"},
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
		}, "", []string{PodToClusterIP}, "20 of 60 requests failed: no reply in time; no answer from echo-w2"},
		{"another certificate", edit(func(a *agent.Answer) {
			if a.Certificate != nil {
				a.Certificate = &agent.Certificate{SHA256: "bad", DNSNames: []string{"ingress.local"}}
			}
		}), "a.netlab.test/one", []string{OutsideToIngressHTTPS}, "observed for ingress.local"},
		{"an answer for an unknown host", edit(func(a *agent.Answer) {
			if a.Status == 404 {
				a.Status = 200
			}
		}), unknownHost + "/", []string{OutsideToIngressHTTP, OutsideToIngressHTTPS}, "expected 404, observed 200"},
		{"the wrong backend", edit(func(a *agent.Answer) {
			if a.Seen != nil && a.Certificate != nil {
				a.Seen.Name = map[string]string{"echo-w1": "echo-w2", "echo-cp": "echo-w2", "echo-w2": "echo-w1"}[a.Seen.Name]
			}
		}), "a.netlab.test/one", []string{OutsideToIngressHTTP, OutsideToIngressHTTPS}, "observed echo-w2"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, got := reach(t, plan, flannel(), healthy(plan), r.upset)
			for _, id := range r.fails {
				matched, said := 0, false
				for _, x := range got {
					if x.path.ID != id || r.to != "" && x.path.To.Name != r.to || x.path.Expected == Unreachable {
						continue
					}
					matched++
					// A source or a stand-in that happens to be right for one row of many does not count.
					if x.finding.Outcome == Fail {
						said = said || strings.Contains(x.finding.Reason, r.reason)
					}
				}
				if matched == 0 || !said {
					for _, x := range got {
						if x.path.ID == id {
							t.Logf("%s → %s: %s %s", x.path.From.Name, x.path.To.Name, x.finding.Outcome, x.finding.Reason)
						}
					}
					t.Errorf("%s (%d rows): no failure that says %q", id, matched, r.reason)
				}
			}
		})
	}
}

// TestVIPOutsidePool: an address that MetalLB took from elsewhere.
func TestVIPOutsidePool(t *testing.T) {
	plan := planOf(t, "quickstart")
	s := healthy(plan)
	s.service(Namespace, ServiceLB).Status.LoadBalancer.Ingress[0].IP = "172.30.0.99"
	_, rows := reach(t, plan, flannel(), s, nil)
	for _, x := range rows {
		if x.path.ID == OutsideToLoadBalancer && x.path.To.Name == ServiceLB {
			if x.finding.Outcome != Fail || x.finding.Reason != "VIP in the pool: expected 172.30.0.200-172.30.0.219, observed 172.30.0.99" {
				t.Errorf("%s: %s", x.finding.Outcome, x.finding.Reason)
			}
		}
	}
}
