package run

import (
	"context"
	"maps"
	"slices"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// visitOwn finds the ends of the user's paths in the cluster, adds their rows to what is verified,
// and starts agents in the network namespaces of their Pods until leave is called. An end that is
// not there yet is waited for as long as a path that should work.
func visitOwn(ctx context.Context, running providers.Running, c *observe.Cluster, o *Options, w *observe.Snapshot) (leave func(), err error) {
	asked := len(o.Extent.Only) == 0 || slices.Contains(o.Extent.Only, checks.Mine)
	if len(o.Paths) == 0 || !asked {
		return func() {}, nil
	}
	ingresses, err := c.Ingresses(ctx)
	if err != nil {
		return nil, err
	}
	for began := time.Now(); ; sleep(ctx, 250*time.Millisecond) {
		s := c.State()
		o.Extent.Own, w.Ends = checks.OwnRows(o.Paths,
			func(p labs.Path) map[observe.Ref]observe.End { return s.Sources(w.Plan, p.From) },
			func(p labs.Path) map[observe.Ref]observe.End { return s.Targets(w.Plan, ingresses, w.Ingress, p) })
		missing := slices.ContainsFunc(slices.Collect(maps.Values(w.Ends)), func(e observe.End) bool { return e.Why != "" })
		if !missing || time.Since(began) > o.settle(w.Plan) || ctx.Err() != nil {
			return visit(ctx, running, s, w), ctx.Err()
		}
	}
}

// Suggest asks all that the user's workloads could reach of their Services, and returns the paths
// that assert what is seen.
func Suggest(ctx context.Context, running providers.Running, o Options) ([]checks.Suggestion, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, c, err := enter(ctx, running, o)
	if err != nil {
		return nil, err
	}
	ingresses, err := c.Ingresses(ctx)
	if err != nil {
		return nil, err
	}
	o.Paths, o.Extent = checks.Candidates(w.Plan, c.State(), ingresses), checks.Extent{Only: []string{checks.Mine}}
	leave, err := visitOwn(ctx, running, c, &o, &w)
	if err != nil {
		return nil, err
	}
	defer leave()
	agents := newClient(running)
	defer agents.close()
	r := verification{snapshot: w, ask: agents.ask, settle: o.settle(w.Plan)}
	var all, open []*attempt
	for _, row := range o.Extent.Rows(w.Plan, o.Support) {
		all = append(all, &attempt{Judged: checks.Judged{Row: row}})
	}
	open = all
	for range 3 { // one lost packet denies nothing
		r.round(ctx, open)
		open = slices.DeleteFunc(slices.Clone(open), func(x *attempt) bool { return x.Finding.Replied })
	}
	newTracer(w, c.State(), agents, "").own(ctx, all, 0)
	var judged []checks.Judged
	for _, x := range all {
		judged = append(judged, x.Judged)
	}
	return checks.Suggestions(judged), ctx.Err()
}

// own judges what only the packets of the user's paths show: whether datagrams arrive, and which
// source address the destination sees. What is not as expected is tried again for as long as settle.
func (t tracer) own(ctx context.Context, rows []*attempt, settle time.Duration) {
	var open []*attempt
	judged := map[*attempt]checks.Finding{}
	for _, x := range rows {
		if x.Row.Captured() && (x.Finding.Outcome == report.Pass || x.Row.ByCapture() && x.Finding.Outcome == report.Fail) {
			open = append(open, x)
			judged[x] = x.Finding
		}
	}
	for began := time.Now(); len(open) > 0 && ctx.Err() == nil; {
		if err := t.attach(ctx, open, true); err != nil {
			for _, x := range open {
				x.Finding = checks.Finding{Outcome: report.Broken, Reason: err.Error()}
			}
			return
		}
		again := slices.DeleteFunc(slices.Clone(open), func(x *attempt) bool {
			checks.JudgeCaptured(t.snapshot, x.Row, &x.Finding, x.evidence)
			return checks.CaptureSettled(t.snapshot, x.Row, x.Finding)
		})
		if time.Since(began) > settle {
			return
		}
		for _, x := range again {
			x.Finding, x.evidence = judged[x], nil
			x.tries++
		}
		open = again
		sleep(ctx, 200*time.Millisecond)
	}
}
