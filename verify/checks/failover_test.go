package checks

import (
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// What is switched off is the holder of the VIP, the announcer that ARP shows, or a next hop; a lab
// without them says so.
func TestFailoverRows(t *testing.T) {
	finding := Finding{Properties: []report.Property{{Key: report.KeyVIPOwner, Observed: "w1"}, {Key: report.KeyNextHops, Observed: "w1 w2"}, {Key: report.KeyHealthy, Observed: "w1 w2"}}}
	for scenario, want := range map[string]map[string]string{
		"haproxy":     {FailoverLoadBalancer: "client lb1", FailoverRouter: "no client has a way by a gateway that routers share", FailoverARP: "the lab has no load balancer"},
		"quickstart":  {FailoverLoadBalancer: "the lab has no host with role load-balancer", FailoverARP: "client w1", FailoverBGP: "the lab announces VIPs in mode l2"},
		"metallb-bgp": {FailoverARP: "the lab announces VIPs in mode bgp", FailoverBGP: "beside w2"},
		"single-node": {FailoverARP: "the lab has fewer than two workers", FailoverBackend: "the lab announces VIPs in mode l2"},
		"csp":         {FailoverARP: "the lab announces VIPs in mode external", FailoverBackend: "client w2"},
	} {
		plan := plantest.Plan(t, scenario)
		s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{}, nil, nil)
		got := map[string]string{}
		for _, r := range FailoverRows(plan, plantest.Flannel()) {
			got[r.ID] = r.Skip
			if r.Skip == "" {
				got[r.ID] = r.From.Name + " " + r.Failover().Carrier(s, r, finding)
			}
		}
		for id, what := range want {
			if got[id] != what {
				t.Errorf("%s: %s is %q, want %q", scenario, id, got[id], what)
			}
		}
		if len(got) != 5 {
			t.Errorf("%s has %v", scenario, got)
		}
	}
}

// The outage is the longest time without an answer; the disturbance lasts until every request is answered.
func TestJudgeFailover(t *testing.T) {
	x := Failover{Asked: 10 * time.Second, Outage: 40 * time.Millisecond}
	for _, c := range []struct{ series, outcome, outage, disturbed, reason string }{
		{"+++++++++", report.Pass, "0", "0", ""},
		{"+++---+++", report.Pass, "30", "30", ""},
		{"+++-+--++", report.Pass, "20", "40", ""},
		{"++------+", report.Fail, "60", "60", "longest time without an answer in ms: expected at most 40, observed 60"},
		{"+++++++--", report.Fail, "10", "10", "expected the last one"},
		{"+-+++++++", report.Broken, "", "", "a request had no answer before lb1 was switched off"},
		{"++", report.Broken, "", "", "the client stopped asking before lb1 was off"},
	} {
		var series agent.Result
		for i, sign := range c.series {
			a := agent.Answer{Outcome: agent.Timeout, AfterMicros: int64(i) * 10000}
			if sign == '+' {
				a.Outcome, a.Status = agent.Reply, 200
			}
			series.Answers = append(series.Answers, a)
		}
		f := Finding{Outcome: report.Pass}
		JudgeFailover(&f, x, "lb1", series, 15*time.Millisecond)
		got := map[string]string{}
		for _, p := range f.Properties {
			if p.Measurement != nil {
				got[p.Measurement.Key] = p.Observed
			}
		}
		if f.Outcome != c.outcome || got[report.MeasuredOutage] != c.outage || got[report.MeasuredDisturbed] != c.disturbed || !strings.Contains(f.Reason, c.reason) {
			t.Errorf("%s: %s %q, %v", c.series, f.Outcome, f.Reason, got)
		}
	}
	f := Finding{Outcome: report.Pass}
	JudgeFailover(&f, x, "lb1", agent.Result{Answers: []agent.Answer{{Outcome: agent.Reply, Status: 503, AfterMicros: 20000}}}, 0)
	if f.Outcome != report.Fail {
		t.Errorf("503 is taken for an answer: %s", f.Outcome)
	}
}
