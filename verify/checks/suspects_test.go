package checks

import (
	"context"
	"testing"

	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// TestExplainLeavesGood: a report without failures does not query the cluster.
func TestExplainLeavesGood(t *testing.T) {
	Explain(context.Background(), observe.Snapshot{}, func(context.Context) observe.State { t.Error("asked"); return observe.State{} }, nil,
		[]*Judged{{Finding: Finding{Outcome: report.Pass}}, {Finding: Finding{Outcome: report.Skip}}})
}

// TestLostPairs: two Nodes count as cut off from each other when nothing passes between
// their Pods in either direction, while Pods on the same Node reach each other on both.
func TestLostPairs(t *testing.T) {
	row := func(from, to, outcome, backend string) *Judged {
		r := reach(observe.Ref{Kind: report.AtPod, Node: from}, observe.Ref{Kind: report.AtPod, Node: to})
		return &Judged{Row: r, Finding: Finding{Outcome: outcome, Observed: report.Observed{Backend: backend}}}
	}
	inside := []*Judged{row("w1", "w1", report.Pass, "x"), row("w2", "w2", report.Pass, "x")}
	measured := row("w1", "w2", report.Pass, "x")
	measured.Row.Measures = report.Throughput
	for name, c := range map[string]struct {
		rows []*Judged
		want int
	}{
		"nothing passes":                {append(inside, row("w1", "w2", report.Fail, ""), row("w2", "w1", report.Fail, ""), measured), 1},
		"one direction passes":          {append(inside, row("w1", "w2", report.Fail, ""), row("w2", "w1", report.Pass, "x")), 0},
		"a property fails":              {append(inside, row("w1", "w2", report.Fail, "x"), row("w2", "w1", report.Fail, "")), 0},
		"it could not be probed":        {append(inside, row("w1", "w2", report.Broken, ""), row("w2", "w1", report.Fail, "")), 0},
		"a Node fails on its own":       {[]*Judged{inside[0], row("w2", "w2", report.Fail, ""), row("w1", "w2", report.Fail, "")}, 0},
		"one Node has no row inside it": {[]*Judged{inside[0], row("w1", "w2", report.Fail, "")}, 0},
	} {
		if got := lostPairs(c.rows); len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}
