package run

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// shopRow is a path of the user's from the frontend to the Service web.
func shopRow(t *testing.T, expect string) (observe.Snapshot, checks.Row) {
	t.Helper()
	plan := plantest.Plan(t, "quickstart")
	s, ingresses := observetest.Shop(observetest.Healthy(plan))
	w := observetest.Snapshot(plan, plantest.Flannel(), s)
	p := labs.Path{From: "pod/shop/frontend-a", To: "shop/web:80", Expect: labs.Expectation(expect)}
	p.Fill()
	rows, ends := checks.OwnRows([]labs.Path{p}, func(p labs.Path) map[observe.Ref]observe.End { return s.Sources(plan, p.From) },
		func(p labs.Path) map[observe.Ref]observe.End { return s.Targets(plan, ingresses, w.Ingress, p) })
	w.Ends = ends
	return w, rows[0]
}

// TestControlsTwice: the controls of a deny are asked with the request and again after it, and it
// proves nothing if one of them fails in the meantime.
func TestControlsTwice(t *testing.T) {
	for _, broken := range []bool{false, true} {
		w, row := shopRow(t, labs.Denied)
		asked := map[string]int{}
		var lock sync.Mutex
		r := verification{snapshot: w, settle: time.Millisecond, ask: func(_ context.Context, s observe.Station, probes []agent.Probe) (out []agent.Result, err error) {
			lock.Lock()
			defer lock.Unlock()
			for _, p := range probes {
				asked[s.Who()+" "+p.Target]++
				result := agent.Result{Outcome: agent.Reply, Answers: []agent.Answer{{Outcome: agent.Reply}}}
				if s.Who() == "shop/frontend-a" || broken && p.Target == "10.244.2.60:8080" && asked[s.Who()+" "+p.Target]%2 == 0 {
					result = agent.Result{Outcome: agent.Timeout}
				}
				out = append(out, result)
			}
			return out, nil
		}}
		x := &attempt{Judged: checks.Judged{Row: row}}
		r.round(t.Context(), []*attempt{x})
		if asked["shop/frontend-a 10.96.7.7:80"] != 1 || asked["netlab-verify/node-w2 10.244.2.60:8080"] != 2 || len(asked) != 4 {
			t.Errorf("asked %v", asked)
		}
		if want := map[bool]string{false: report.Pass, true: report.Broken}[broken]; x.Finding.Outcome != want {
			t.Errorf("a deny with controls that fail later: %t is %s (%s), want %s", broken, x.Finding.Outcome, x.Finding.Reason, want)
		}
	}
}

// TestDeniedAgain: a denied path that got an answer is asked again, over UDP too: its Service may have
// sent the Pod back to itself.
func TestDeniedAgain(t *testing.T) {
	for _, protocol := range []string{labs.PathTCP, labs.PathUDP} {
		w, row := shopRow(t, labs.Denied)
		row.Own.Protocol, row.Protocol = protocol, protocol
		asked := 0
		r := verification{snapshot: w, settle: 5 * time.Second, ask: func(_ context.Context, s observe.Station, probes []agent.Probe) (out []agent.Result, err error) {
			for range probes {
				result := agent.Result{Outcome: agent.Reply, Answers: []agent.Answer{{Outcome: agent.Reply}}}
				if s.Who() == "shop/frontend-a" {
					if asked++; asked > 1 {
						result = agent.Result{Outcome: agent.Timeout}
					}
				}
				out = append(out, result)
			}
			return out, nil
		}}
		x := &attempt{Judged: checks.Judged{Row: row}}
		r.reachability(t.Context(), []*attempt{x})
		if x.Finding.Outcome != report.Pass || x.tries != 2 {
			t.Errorf("%s: %s after %d tries (%s)", protocol, x.Finding.Outcome, x.tries, x.Finding.Reason)
		}
	}
}

// TestEndsThatAreMissing: what is not in the cluster fails a path with that reason, also one that must
// be denied: nothing is proved.
func TestEndsThatAreMissing(t *testing.T) {
	for _, expect := range []string{labs.Reachable, labs.Denied} {
		w, row := shopRow(t, expect)
		for r, e := range w.Ends {
			if r == row.To {
				e.Why = "Service shop/web has no ready endpoints"
				w.Ends[r] = e
			}
		}
		r := verification{snapshot: w, settle: time.Millisecond}
		x := &attempt{Judged: checks.Judged{Row: row}}
		r.reachability(t.Context(), []*attempt{x})
		if x.Finding.Outcome != report.Fail || !strings.Contains(x.Finding.Reason, "has no ready endpoints") {
			t.Errorf("%s: %s (%s)", expect, x.Finding.Outcome, x.Finding.Reason)
		}
	}
	w, row := shopRow(t, labs.Reachable)
	w.Unvisited = map[string]string{"shop/frontend-a": "no process of the Pod runs"}
	r := verification{snapshot: w, settle: time.Millisecond}
	x := &attempt{Judged: checks.Judged{Row: row}}
	r.reachability(t.Context(), []*attempt{x})
	if x.Finding.Outcome != report.Broken || !strings.Contains(x.command, "--paths mine") {
		t.Errorf("without an agent: %s (%s), %s", x.Finding.Outcome, x.Finding.Reason, x.command)
	}
}
