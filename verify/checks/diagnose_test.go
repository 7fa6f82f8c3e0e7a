package checks

import (
	"context"
	"testing"

	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// TestExplainLeavesGood: a report without failures asks the cluster nothing.
func TestExplainLeavesGood(t *testing.T) {
	Explain(context.Background(), observe.Snapshot{}, func(context.Context) observe.State { t.Error("asked"); return observe.State{} }, nil,
		[]*Judged{{Finding: Finding{Outcome: report.Pass}}, {Finding: Finding{Outcome: report.Skip}}})
}
