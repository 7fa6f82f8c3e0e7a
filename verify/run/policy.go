package run

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// legProbe makes a leg's probe; a Pod's address is known only now.
func legProbe(w observe.Snapshot, l checks.Leg, timeout time.Duration) (agent.Probe, error) {
	if why := w.Unmet["pod/"+l.To.Name]; why != "" {
		return agent.Probe{}, observe.Unasked{Why: why}
	}
	p := agent.Probe{Kind: l.Kind, Method: l.Method, TimeoutMillis: int(timeout.Milliseconds())}
	if l.Kind == agent.TCP {
		p.Target = observe.JoinPort(w.PodIPs[l.To.Name], agent.PortTCP)
	} else {
		p.Target = "http://" + observe.JoinPort(w.PodIPs[l.To.Name], agent.PortHTTP) + cmp.Or(l.Path, "/")
	}
	return p, nil
}

// cluster is what a policy is played on: the cluster and its agents, or a fake of them.
type cluster interface {
	Ask(ctx context.Context, from observe.Ref, probe agent.Probe) (agent.Result, error)
	Apply(ctx context.Context, policy runtime.Object) error
	Remove(ctx context.Context, policy runtime.Object) error
}

// timing is the patience of a policy's play.
type timing struct {
	Control time.Duration // for a leg that has to work to work
	Effect  time.Duration // for an enforced policy to take effect, and to end
	Watch   time.Duration // how long a policy that is not enforced is watched having no effect
	Pause   time.Duration // between two probes
	Probe   time.Duration // for one probe's answer
}

// late is how many times longer than its bound a policy's effect is waited for, so that
// one that comes late is told from one that never comes.
const late = 2

// usualTiming gives it for machines that are so many times slower.
func usualTiming(settle, slower time.Duration) timing {
	return timing{Control: settle, Effect: 10 * time.Second * slower, Watch: 1200 * time.Millisecond * slower, Pause: 100 * time.Millisecond, Probe: 300 * time.Millisecond * slower}
}

// player plays one policy.
type player struct {
	observe.Snapshot
	on cluster
	timing
}

// try asks a leg once. Its error is about the probe, never about the path.
func (p player) try(ctx context.Context, l checks.Leg, patience time.Duration) (agent.Result, error) {
	probe, err := legProbe(p.Snapshot, l, patience)
	if err != nil {
		return agent.Result{}, err
	}
	r, err := p.on.Ask(ctx, l.From, probe)
	if err == nil && r.Outcome == agent.Broken {
		err = fmt.Errorf("the probe could not run: %s", r.Error)
	}
	return r, err
}

// until asks a leg again and again until the answer is good or the time is up.
func (p player) until(ctx context.Context, l checks.Leg, bound time.Duration, good func(agent.Result) bool) (r agent.Result, took time.Duration, err error) {
	start := time.Now()
	for {
		r, err = p.try(ctx, l, max(p.Probe, time.Second))
		took = time.Since(start)
		if err == nil && good(r) || took > bound || ctx.Err() != nil {
			return r, took, err
		}
		sleep(ctx, p.Pause)
	}
}

// replied is what is good of a leg that has to work.
func replied(r agent.Result) bool { return r.Outcome == agent.Reply }

// apply puts a policy into the cluster and gives what takes it out again, once, ctx or no ctx.
func (p player) apply(ctx context.Context, policy runtime.Object) (remove func() error, err error) {
	return sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return p.on.Remove(ctx, policy)
	}), p.on.Apply(ctx, policy)
}

// perform plays a policy between its two positive controls: before it and after it both
// legs must work; while it is on, the denied leg must go silent and the other must not.
func perform(w observe.Snapshot, ctx context.Context, p checks.Row, on cluster, t timing) checks.Finding {
	play := checks.ScenarioOf(p.ID, w.Pods)
	f := checks.Finding{Outcome: report.Pass, Nodes: []string{play.Denied.From.Node, play.Denied.To.Node, play.Allowed.From.Node, play.Allowed.To.Node}}
	fail := func(outcome, format string, args ...any) checks.Finding {
		f.Outcome, f.Reason = outcome, fmt.Sprintf(format, args...)
		return f
	}
	by := player{w, on, t}
	for i, l := range []checks.Leg{play.Denied, play.Allowed} {
		r, _, err := by.until(ctx, l, t.Control, replied)
		if err != nil {
			return fail(report.Broken, "the control before the policy: %v", err)
		}
		f.AssertStep(report.StepBefore, []string{"denied", "allowed"}[i]+" path before the policy", "a reply", checks.Said(r), r.Outcome == agent.Reply)
		if r.Outcome != agent.Reply {
			return fail(report.Broken, "the positive control before the policy got %s from %s to %s: its deny would prove nothing", checks.Said(r), l.From.Name, l.To.Name)
		}
		if l == play.Denied {
			f.Observed = observedOf(r)
		}
	}

	remove, err := by.apply(ctx, play.Policy)
	if err != nil {
		return fail(report.Broken, "apply the policy: %v", err)
	}
	defer remove()

	applied := time.Now()
	window := late * t.Effect
	if p.Expected == report.NotEnforced {
		window = t.Watch
	}
	blocked, effect := false, time.Duration(0)
	for !blocked && time.Since(applied) < window && ctx.Err() == nil {
		effect = time.Since(applied)
		silent := 0
		// One lost packet is no policy: silence counts when it lasts.
		for _, patience := range []time.Duration{t.Probe, t.Probe, 2 * t.Probe} {
			r, err := by.try(ctx, play.Denied, patience)
			if err != nil {
				return fail(report.Broken, "under the policy: %v", err)
			}
			if r.Outcome == agent.Reply {
				break
			}
			silent++
		}
		if blocked = silent == 3; !blocked {
			sleep(ctx, t.Pause)
		}
	}
	allowed, _, err := by.until(ctx, play.Allowed, t.Control, replied)
	if err != nil {
		return fail(report.Broken, "under the policy: %v", err)
	}
	if err := remove(); err != nil {
		return fail(report.Broken, "remove the policy: %v", err)
	}
	denied := map[bool]string{true: "blocked", false: "a reply"}
	if p.Expected == report.Enforced {
		f.AssertStep(report.StepDenied, "denied under the policy", "blocked", denied[blocked], blocked)
		if blocked {
			f.Within(report.SecondsToEffect, t.Effect, effect)
		}
	} else {
		f.AssertStep(report.StepDenied, "denied under the policy", "a reply (not enforced)", denied[blocked]+map[bool]string{false: " (not enforced)"}[blocked], !blocked)
	}
	f.AssertStep(report.StepAllowed, "allowed under the policy", "a reply", checks.Said(allowed), allowed.Outcome == agent.Reply)

	after, took, err := by.until(ctx, play.Denied, late*t.Effect, replied)
	if err != nil {
		return fail(report.Broken, "the control after the policy: %v", err)
	}
	f.AssertStep(report.StepAfter, "after the policy", "a reply", checks.Said(after), after.Outcome == agent.Reply)
	if blocked && after.Outcome == agent.Reply {
		f.Within("seconds to end", t.Effect, took)
	}
	return f
}

// policyCommand applies a policy and asks a leg that it denies.
func policyCommand(w observe.Snapshot, policy runtime.Object, denied checks.Leg) string {
	text, err := json.Marshal(policy)
	if err != nil {
		text = []byte(err.Error())
	}
	probe, _ := legProbe(w, denied, time.Second)
	return fmt.Sprintf("echo %s | netlab kubectl %s -- apply -f - && %s", shell.Join(string(text)), w.Plan.Lab,
		checks.Command(w, checks.Ask{From: denied.From, Probe: probe}))
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
