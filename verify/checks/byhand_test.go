package checks

import (
	"testing"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// The Ingress is asked at the load balancer's address; a load balancer that is off is why there is none.
func TestThroughLoadBalancers(t *testing.T) {
	plan := plantest.Plan(t, "haproxy")
	s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{}, nil, nil)
	found := map[string]bool{}
	for _, r := range Rows(plan, plantest.Flannel()) {
		if r.ID != OutsideToLBByHand {
			continue
		}
		asks, err := AsksOf(s, r)
		if err != nil || len(asks) != 1 {
			t.Fatalf("asked is %+v (%v)", asks, err)
		}
		found[asks[0].Probe.Target+" "+asks[0].Probe.Host] = true
		if _, shared := sharers(plan, r.Through); shared || r.Protocol == agent.HTTPS {
			continue
		}
		off := s
		off.Off, off.Away = []string{r.Through}, map[string]string{r.Through: r.Through + " is off"}
		if _, err := AsksOf(off, r); err == nil || err.Error() != r.Through+" is off" {
			t.Errorf("without %s: %v", r.Through, err)
		}
	}
	for _, want := range []string{"http://172.30.0.100:80/one a.netlab.test", "https://172.30.0.101:443/two b.netlab.test", "http://172.30.0.101:80/ nosuch.netlab.test", "https://172.30.0.90:443/one a.netlab.test"} {
		if !found[want] {
			t.Errorf("%s is not asked: %v", want, found)
		}
	}
	if len(found) != 30 {
		t.Errorf("%d requests", len(found))
	}
}

// Without the PROXY protocol the Ingress takes the load balancer or a Node for its client, with it
// the client itself.
func TestForwardedFor(t *testing.T) {
	plan := plantest.Plan(t, "haproxy")
	r := Row{ID: OutsideToLBByHand, From: observe.AtHost(plan.Machines[5]), To: observe.Ref{Kind: report.AtIngress, Name: "a.netlab.test/one"}, Through: "lb1", Protocol: agent.HTTP}
	r.From.Name = "client"
	for _, proxy := range []bool{false, true} {
		plan.Ingress.ProxyProtocol = proxy
		s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{}, nil, nil)
		for forwarded, of := range map[string]bool{"172.30.0.100": false, "172.30.0.11": false, "172.30.0.102": true, "": true, "10.9.9.9": true} {
			a := agent.Answer{Outcome: agent.Reply, Status: 200, Seen: &agent.Seen{Name: "backend-a", ForwardedFor: forwarded}}
			p := (ForwardedFor{}).Judge(s, r, Answers{PartMain: {Outcome: agent.Reply, Answers: []agent.Answer{a}}})
			want := !of && !proxy || proxy && forwarded == "172.30.0.102"
			if len(p) != 1 || p[0].OK != want {
				t.Errorf("PROXY protocol %t, X-Forwarded-For %q: %+v", proxy, forwarded, p)
			}
		}
	}
	plan.Ingress.ProxyProtocol = true
	for _, r := range Rows(plan, plantest.Flannel()) {
		if (r.ID == PodToIngress || r.ID == OutsideToIngressHTTP || r.ID == OutsideToIngressHTTPS) && r.Skip != onlyProxies {
			t.Errorf("%s: %q", r.ID, r.Skip)
		}
	}
}
