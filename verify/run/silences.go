package run

import (
	"context"
	"fmt"
	"time"

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
func (p policyRun) silences(ctx context.Context, x checks.Scenario, expected string) checks.Finding {
	denied := x.Denied[0]
	f := checks.Finding{Outcome: report.Pass, Nodes: []string{denied.From.Node, denied.To.Node, x.Allowed.From.Node, x.Allowed.To.Node}}
	for i, l := range []checks.Leg{denied, x.Allowed} {
		r, _, err := p.until(ctx, l, p.Control, replied)
		if err != nil {
			return broken(f, "the control before the policy: %v", err)
		}
		step(&f, report.StepBefore, []string{"denied", "allowed"}[i]+" path before the policy", "a reply", checks.Said(r), replied(r))
		if !replied(r) {
			return broken(f, "the positive control before the policy got %s from %s to %s: a deny would prove nothing", checks.Said(r), l.From.Name, l.To.Name)
		}
		if i == 0 {
			f.Observed = observedOf(r)
		}
	}
	remove, err := p.apply(ctx, x.Policy)
	if err != nil {
		return broken(f, "apply the policy: %v", err)
	}
	defer remove()

	window := late * p.Effect
	if expected == report.NotEnforced {
		window = p.Watch
	}
	blocked, effect, err := p.blocks(ctx, denied, window)
	if err != nil {
		return broken(f, "under the policy: %v", err)
	}
	allowed, _, err := p.until(ctx, x.Allowed, p.Control, replied)
	if err != nil {
		return broken(f, "under the policy: %v", err)
	}
	if err := remove(); err != nil {
		return broken(f, "remove the policy: %v", err)
	}
	observed := map[bool]string{true: "blocked", false: "a reply"}[blocked]
	switch {
	case expected == report.NotEnforced && !blocked:
		step(&f, report.StepDenied, "denied under the policy", "a reply (not enforced)", observed+" (not enforced)", true)
	case expected == report.NotEnforced:
		step(&f, report.StepDenied, "denied under the policy", "a reply (not enforced)", observed, false)
	default:
		step(&f, report.StepDenied, "denied under the policy", "blocked", observed, blocked)
		if blocked {
			f.Within(report.MeasuredEffect, "seconds to effect", p.Effect, effect)
		}
	}
	step(&f, report.StepAllowed, "allowed under the policy", "a reply", checks.Said(allowed), replied(allowed))

	after, took, err := p.until(ctx, denied, late*p.Effect, replied)
	if err != nil {
		return broken(f, "the control after the policy: %v", err)
	}
	step(&f, report.StepAfter, "after the policy", "a reply", checks.Said(after), replied(after))
	if blocked && replied(after) {
		f.Within(report.MeasuredEnd, "seconds to end", p.Effect, took)
	}
	return f
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
