package run

import (
	"context"
	"errors"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// switched is a Power that records what was done, and may fail.
type switched struct {
	did  []string
	fail error
}

func (s *switched) Off(_ context.Context, m string) error {
	s.did = append(s.did, "off "+m)
	return s.fail
}
func (s *switched) On(_ context.Context, m string) error { s.did = append(s.did, "on "+m); return nil }

// The holder of the VIP is switched off while a client asks, and on again whatever happens; nothing is
// switched off where the path is broken anyway.
func TestFailover(t *testing.T) {
	plan := plantest.Plan(t, "haproxy")
	s := observetest.Snapshot(plan, plantest.Flannel(), observetest.Healthy(plan))
	for _, c := range []struct {
		name, did, outcome string
		fail               error
		silent             bool
	}{
		{"healthy", "off lb1, on lb1", report.Pass, nil, false},
		{"no power switch", "off lb1, on lb1", report.Broken, errors.New("no switch"), false},
		{"silent before", "", report.Fail, nil, true},
	} {
		power := &switched{fail: c.fail}
		network := observetest.Network{W: s}
		v := verification{snapshot: s, ask: func(_ context.Context, at observe.Station, probes []agent.Probe) ([]agent.Result, error) {
			if c.silent {
				return []agent.Result{observetest.Silence(agent.Timeout, "i/o timeout")}, nil
			}
			results := network.Ask(at, probes)
			if p := probes[0]; p.ForMillis > 0 {
				before, after := results[0].Answers[0], results[0].Answers[0]
				after.AfterMicros = 2e6
				results[0].Answers = []agent.Answer{before, after}
			}
			return results, nil
		}}
		var row checks.Row
		for _, r := range checks.FailoverRows(plan, components.Support{}) {
			if r.ID == checks.FailoverLoadBalancer {
				row = r
			}
		}
		x := &attempt{Judged: checks.Judged{Row: row}}
		v.failover(t.Context(), x, power)
		if did := strings.Join(power.did, ", "); did != c.did || x.Finding.Outcome != c.outcome {
			t.Errorf("%s: %q, %s %s", c.name, did, x.Finding.Outcome, x.Finding.Reason)
		}
	}
}
