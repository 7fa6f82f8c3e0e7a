package run

import (
	"context"
	"fmt"
	"time"

	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// Power switches machines off and on again. It returns when a machine that it switched on has its part
// in the lab back.
type Power interface {
	Off(ctx context.Context, machine string) error
	On(ctx context.Context, machine string) error
}

// beforeOff is how long the client of a failover asks before the machine is switched off.
const beforeOff = time.Second

// Failover switches off, one after the other, the machines that carry the failover paths of a lab, while
// a client of each path asks. All are on again afterwards, but the machines of running may not be valid
// any more.
func Failover(ctx context.Context, running providers.Running, o Options, power Power) ([]report.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, _, err := enter(ctx, running, o)
	if err != nil {
		return nil, err
	}
	agents := newClient(running)
	defer agents.close()
	w.Own = agents.addresses(ctx, w)
	v := verification{snapshot: w, ask: agents.ask, settle: o.settle(running.Plan)}
	var rows []*attempt
	for _, r := range checks.FailoverRows(running.Plan, o.Support) {
		x := &attempt{Judged: checks.Judged{Row: r}, command: shell.Join("netlab", "verify", running.Plan.Lab.String(), "--failover")}
		rows = append(rows, x)
		if r.Skip != "" {
			x.Finding = checks.Finding{Outcome: report.Skip, Reason: r.Skip}
			continue
		}
		start := time.Now()
		v.failover(ctx, x, power)
		x.took = time.Since(start)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("verify %s: %w", running.Plan.Lab, err)
		}
	}
	return reportOf(w, rows, o.Extent, o.CNIVersion).Paths, nil
}

// failover plays one path: a plain probe that must pass, then the series during which its carrier is
// switched off.
func (r verification) failover(ctx context.Context, to *attempt, power Power) {
	command := to.command
	r.reachability(ctx, []*attempt{to})
	to.command = command
	if to.Finding.Outcome != report.Pass {
		return
	}
	x := to.Row.Failover()
	carrier := x.Carrier(r.snapshot, to.Row, to.Finding)
	if m, known := r.snapshot.Plan.Machine(carrier); !known || m.Role == topology.RoleControlPlane {
		to.Finding = broken(to.Finding, "what carries the path cannot be switched off: %q", carrier)
		return
	}
	station, err := r.snapshot.Station(to.Row.From)
	if err != nil {
		to.Finding = refusal(err)
		return
	}
	asks, err := checks.AsksOf(r.snapshot, to.Row)
	if err != nil {
		to.Finding = refusal(err)
		return
	}
	type answer struct {
		results []agent.Result
		err     error
	}
	asked := make(chan answer, 1)
	start := time.Now()
	go func() {
		results, err := r.ask(ctx, station, []agent.Probe{x.Series(asks[0].Probe)})
		asked <- answer{results, err}
	}()
	sleep(ctx, beforeOff)
	off := time.Since(start)
	err = power.Off(ctx, carrier)
	series := <-asked
	if on := power.On(context.WithoutCancel(ctx), carrier); err == nil {
		err = on
	}
	if err != nil || series.err != nil {
		to.Finding = broken(to.Finding, "while %s was off: %v", carrier, observe.Join(text(err), text(series.err)))
		return
	}
	checks.JudgeFailover(&to.Finding, *x, carrier, series.results[0], off)
}
