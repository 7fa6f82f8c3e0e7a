package checks

import (
	"testing"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
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
