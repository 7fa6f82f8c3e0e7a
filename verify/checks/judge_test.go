package checks

import (
	"testing"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// TestNobodySeen: a reply that names no agent fails the assertions about agents.
func TestNobodySeen(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observe.New(plan, plantest.Flannel(), Pods(plan), observe.State{}, nil, nil)
	asked := 0
	for _, r := range Rows(plan, plantest.Flannel()) {
		if r.ID != PodToPodSameNode {
			continue
		}
		asked++
		f := Judge(s, r, Answers{PartMain: agent.Result{Outcome: agent.Reply}})
		if f.Outcome != report.Fail || len(f.Properties) != 2 || f.Properties[0].OK || f.Properties[1].OK {
			t.Errorf("%s: %+v", r.From.Name, f)
		}
	}
	if asked == 0 {
		t.Error("no row was tested")
	}
}

// A row of few requests passes with any of the ready endpoints, and with no other.
func TestFewRequests(t *testing.T) {
	s := observe.Snapshot{Services: map[string]observe.Service{workload.ServiceEcho: {Ready: []string{"one", "two", "three"}}}}
	r := Row{ID: PodToClusterIP, To: observe.AtService(workload.ServiceEcho), Few: true}
	for _, c := range []struct {
		few  bool
		seen []string
		ok   bool
	}{{true, []string{"two", "one"}, true}, {true, []string{"two", "four"}, false}, {false, []string{"two", "one"}, false}, {false, []string{"two", "one", "three"}, true}} {
		r.Few = c.few
		main := agent.Result{Outcome: agent.Reply}
		for _, name := range c.seen {
			main.Answers = append(main.Answers, agent.Answer{Outcome: agent.Reply, Seen: &agent.Seen{Name: name}})
		}
		if got := (Backends{Every: true}).Judge(s, r, Answers{PartMain: main}); len(got) != 1 || got[0].OK != c.ok {
			t.Errorf("few %t, answers of %v: %+v", c.few, c.seen, got)
		}
		var p agent.Probe
		if everyEndpoint(Query{Snapshot: s, Row: r}, &p); c.few == (p.Count > 20) {
			t.Errorf("few %t: %d requests", c.few, p.Count)
		}
	}
}
