package run

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// relabels applies a policy that allows what has a label, gives the client the label and takes
// it away, and measures how long either takes until the policy decides by it.
func (p policyRun) relabels(ctx context.Context, x checks.Scenario, policy runtime.Object) checks.Finding {
	l, bound := x.Denied[0], checks.RelabelBound(p.Snapshot, p.Effect)
	f := checks.Finding{Outcome: report.Pass, Nodes: []string{l.From.Node, l.To.Node}}
	r, err := p.control(ctx, l, replied)
	if err != nil {
		return broken(f, "the control before the policy: %v", err)
	}
	step(&f, report.StepBefore, "before the policy", "a reply", checks.Said(r), replied(r))
	if !replied(r) {
		return broken(f, "the positive control before the policy got %s: a deny would prove nothing", checks.Said(r))
	}
	f.Observed = observedOf(r)
	remove, err := p.apply(ctx, policy)
	if err != nil {
		return broken(f, "apply the policy: %v", err)
	}
	defer remove()
	blocked, _, err := p.blocks(ctx, l, late*p.Effect)
	if err != nil {
		return broken(f, "under the policy: %v", err)
	}
	step(&f, report.StepDenied, "without the label", "blocked", said(blocked), blocked)
	if !blocked {
		return f
	}

	clear := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiAway+5*time.Second)
		defer cancel()
		return p.on.Label(ctx, l.From, checks.RelabelKey, "")
	}
	defer clear()
	if err := p.on.Label(ctx, l.From, checks.RelabelKey, checks.RelabelValue); err != nil {
		return broken(f, "label %s: %v", l.From.Name, err)
	}
	r, took, err := p.until(ctx, l, late*bound, replied)
	if err != nil {
		return broken(f, "with the label: %v", err)
	}
	step(&f, report.StepAllowed, "with the label", "a reply", checks.Said(r), replied(r))
	if !replied(r) {
		return f
	}
	f.Within(report.MeasuredLabelled, "seconds from the label to its effect", bound, took)

	if err := clear(); err != nil {
		return broken(f, "take the label off %s: %v", l.From.Name, err)
	}
	blocked, took, err = p.blocks(ctx, l, late*bound)
	if err != nil {
		return broken(f, "without the label again: %v", err)
	}
	step(&f, report.StepDenied, "without the label again", "blocked", said(blocked), blocked)
	if blocked {
		f.Within(report.MeasuredUnlabelled, "seconds from the label's removal to its effect", bound, took)
	}
	if err := remove(); err != nil {
		return broken(f, "remove the policy: %v", err)
	}
	r, _, err = p.until(ctx, l, late*p.Effect, replied)
	if err != nil {
		return broken(f, "the control after the policy: %v", err)
	}
	step(&f, report.StepAfter, "after the policy", "a reply", checks.Said(r), replied(r))
	return f
}

// said is what a leg under a policy got.
func said(blocked bool) string {
	if blocked {
		return "blocked"
	}
	return "a reply"
}
