package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// broken is the finding of a policy whose test could not be completed.
func broken(f checks.Finding, format string, args ...any) checks.Finding {
	f.Outcome, f.Reason = report.Broken, fmt.Sprintf(format, args...)
	return f
}

// step asserts the result of one step of a policy.
func step(f *checks.Finding, s report.Step, name, expected, observed string, ok bool) {
	f.Assert(report.Property{Step: s, Name: name, Expected: expected, Observed: observed, OK: ok})
}

// silences applies and removes a policy between its two positive controls: before and after
// it both legs must work; while it is in force, the denied leg must get no reply and the
// other must work.
func (p policyRun) silences(ctx context.Context, x checks.Scenario, policy runtime.Object, expected string) checks.Finding {
	f := checks.Finding{Outcome: report.Pass}
	all := append(x.Denied[:len(x.Denied):len(x.Denied)], x.Allowed...)
	for i, l := range all {
		f.Nodes = append(f.Nodes, l.From.Node, l.To.Node)
		r, err := p.control(ctx, l, replied)
		if err != nil {
			return broken(f, "the control before the policy: %v", err)
		}
		step(&f, report.StepBefore, title(x, i)+" before the policy", "a reply", checks.Said(r), replied(r))
		if !replied(r) {
			return broken(f, "the positive control before the policy got %s from %s to %s: a deny would prove nothing", checks.Said(r), l.From.Name, l.To.Name)
		}
		if i == 0 {
			f.Observed = observedOf(r)
		}
	}
	remove, err := p.apply(ctx, policy)
	if err != nil {
		return broken(f, "apply the policy: %v", err)
	}
	defer remove()

	blocked, err := p.denies(ctx, &f, x, expected)
	if err != nil {
		return broken(f, "under the policy: %v", err)
	}
	for i, l := range x.Allowed {
		r, _, err := p.until(ctx, l, p.Control, replied)
		if err != nil {
			return broken(f, "under the policy: %v", err)
		}
		step(&f, report.StepAllowed, title(x, len(x.Denied)+i)+" under the policy", "a reply", checks.Said(r), replied(r))
	}
	if err := remove(); err != nil {
		return broken(f, "remove the policy: %v", err)
	}
	removed, ended := time.Now(), true
	for i, l := range x.Denied {
		r, _, err := p.until(ctx, l, late*p.Effect-time.Since(removed), replied)
		if err != nil {
			return broken(f, "the control after the policy: %v", err)
		}
		step(&f, report.StepAfter, title(x, i)+" after the policy", "a reply", checks.Said(r), replied(r))
		ended = ended && replied(r)
	}
	if blocked && ended {
		f.Within(report.MeasuredEnd, "seconds to end", p.Effect, time.Since(removed))
	}
	return f
}

// title is what the i-th leg of a scenario is called, those that are denied counted first.
func title(x checks.Scenario, i int) string {
	kind, all := "denied", x.Denied
	if i >= len(x.Denied) {
		kind, all, i = "allowed", x.Allowed, i-len(x.Denied)
	}
	if len(all) == 1 {
		return kind
	}
	return fmt.Sprintf("%s %s → %s", kind, all[i].From.Name, all[i].To.Name)
}

// denies probes all the legs that a policy denies, side by side, and asserts that they get no
// reply where it is enforced, or go on getting one where it is not.
func (p policyRun) denies(ctx context.Context, f *checks.Finding, x checks.Scenario, expected string) (all bool, err error) {
	window := late * p.Effect
	if expected == report.NotEnforced {
		window = p.Watch
	}
	blocked, effects := make([]bool, len(x.Denied)), make([]time.Duration, len(x.Denied))
	var g errgroup.Group
	for i, l := range x.Denied {
		g.Go(func() (err error) {
			blocked[i], effects[i], err = p.blocks(ctx, l, window)
			if err == nil && blocked[i] && expected == report.NotEnforced {
				// On a machine with too much to do three replies in a row may be late.
				r, _, again := p.until(ctx, l, p.Control, replied)
				blocked[i], err = !replied(r), again
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	for i := range x.Denied {
		name, observed := title(x, i)+" under the policy", map[bool]string{true: "blocked", false: "a reply"}[blocked[i]]
		switch {
		case expected == report.NotEnforced && !blocked[i]:
			step(f, report.StepDenied, name, "a reply (not enforced)", observed+" (not enforced)", true)
		case expected == report.NotEnforced:
			step(f, report.StepDenied, name, "a reply (not enforced)", observed, false)
		default:
			step(f, report.StepDenied, name, "blocked", observed, blocked[i])
		}
	}
	all = !slices.Contains(blocked, false)
	if all && expected != report.NotEnforced {
		f.Within(report.MeasuredEffect, "seconds to effect", p.Effect, slices.Max(effects))
	}
	return all, nil
}

// blocks probes a leg until it gets no reply any more, and returns when that happened.
func (p policyRun) blocks(ctx context.Context, l checks.Leg, window time.Duration) (blocked bool, effect time.Duration, err error) {
	applied := time.Now()
	for !blocked && time.Since(applied) < window && ctx.Err() == nil {
		effect = time.Since(applied)
		silent := 0
		// One lost packet is not a policy: no reply counts only when it lasts.
		for _, patience := range []time.Duration{p.Probe, p.Probe, 2 * p.Probe} {
			r, err := p.try(ctx, l, patience)
			if err != nil {
				return false, 0, err
			}
			if r.Outcome == agent.Reply {
				break
			}
			silent++
		}
		if blocked = silent == 3; !blocked {
			sleep(ctx, p.Pause)
		}
	}
	return blocked, effect, nil
}
