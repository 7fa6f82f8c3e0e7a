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
)

// legProbe is a leg's probe; a Pod's address is known only now.
func legProbe(w observe.Snapshot, l checks.Leg, timeout time.Duration) (agent.Probe, error) {
	target, _, err := w.Address(l.From, l.To, l.Kind)
	if err != nil {
		return agent.Probe{}, err
	}
	p := agent.Probe{Kind: l.Kind, Method: l.Method, TimeoutMillis: int(timeout.Milliseconds())}
	if l.Kind == agent.TCP {
		p.Target = target
	} else {
		if l.Name != "" {
			target = observe.JoinPort(l.Name, observe.DataPort(l.Kind))
		}
		p.Target = "http://" + target + cmp.Or(l.Path, "/")
	}
	return p, nil
}

// cluster is where a policy is applied: the cluster and its agents, or a fake.
type cluster interface {
	Ask(ctx context.Context, from observe.Ref, probe agent.Probe) (agent.Result, error)
	Apply(ctx context.Context, policy runtime.Object) error
	Remove(ctx context.Context, policy runtime.Object) error
	// Label sets a label of a Pod; "" takes it off.
	Label(ctx context.Context, pod observe.Ref, key, value string) error
}

// timing bounds the steps of a policy.
type timing struct {
	Control time.Duration // for a leg that must work to get a reply
	Effect  time.Duration // for an enforced policy to take effect, and to end
	Watch   time.Duration // how long a policy that is not enforced must show no effect
	Pause   time.Duration // between two probes
	Probe   time.Duration // for one probe's answer
}

// late is the factor by which a policy's effect is awaited beyond its bound, to distinguish
// a late effect from none.
const late = 2

// usualTiming is the timing for machines that are slower by a factor.
func usualTiming(settle, slower time.Duration) timing {
	return timing{Control: settle, Effect: 10 * time.Second * slower, Watch: 1200 * time.Millisecond * slower, Pause: 100 * time.Millisecond, Probe: 300 * time.Millisecond * slower}
}

// policyRun applies policies and checks their effect.
type policyRun struct {
	observe.Snapshot
	on        cluster
	explained func() bool // reports whether the cluster's state explains a control that fails; nil: it does not
	timing
}

// play runs the scenario of a policy; own is its object where it is specific to the CNI.
func (p policyRun) play(ctx context.Context, x checks.Scenario, own runtime.Object, expected string) checks.Finding {
	switch {
	case x.Denial == checks.Forbidden:
		return p.forbids(ctx, x, own)
	case x.Relabel:
		return p.relabels(ctx, x, own)
	}
	return p.silences(ctx, x, own, expected)
}

// try probes a leg once. Its error is about the probe, never about the path.
func (p policyRun) try(ctx context.Context, l checks.Leg, patience time.Duration) (agent.Result, error) {
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

// until probes a leg repeatedly until the answer is good or the time is up.
func (p policyRun) until(ctx context.Context, l checks.Leg, bound time.Duration, good func(agent.Result) bool) (r agent.Result, took time.Duration, err error) {
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

// control probes a leg that must work before a policy is applied, once if the cluster's state
// explains the failure.
func (p policyRun) control(ctx context.Context, l checks.Leg, good func(agent.Result) bool) (agent.Result, error) {
	r, _, err := p.until(ctx, l, 0, good)
	if err == nil && good(r) || p.explained != nil && p.explained() {
		return r, err
	}
	r, _, err = p.until(ctx, l, p.Control, good)
	return r, err
}

// replied is the condition for a leg that must work.
func replied(r agent.Result) bool { return r.Outcome == agent.Reply }

// apply creates a policy and returns a function that deletes it, once, even if ctx is done.
func (p policyRun) apply(ctx context.Context, policy runtime.Object) (remove func() error, err error) {
	return sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiAway+5*time.Second)
		defer cancel()
		return p.on.Remove(ctx, policy)
	}), p.on.Apply(ctx, policy)
}

// policyCommand is the command line that applies a policy and probes a leg that it denies.
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
