package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"netlab.dev/netlab/verify/agent"
)

// policyPlay is one policy with the two legs that show its effect: one that it denies,
// and one that it must leave alone.
type policyPlay struct {
	Policy          *networkingv1.NetworkPolicy
	Denied, Allowed leg
}

// leg is one connection between two agents.
type leg struct {
	From, To     Ref
	Kind         string // http or tcp: each has its own port
	Method, Path string // http; GET of / unless told
}

func policyOf(id string, c cast) policyPlay {
	subject := atPod(c.Policy[indexOf(policyIDs(), id)])
	frontend, other := atPod(c.Echo[0]), atPod(c.Echo[len(c.Echo)-1])
	meta := ownMeta(Namespace, id, nil)
	ingress := func(rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
		selector := metav1.LabelSelector{MatchLabels: map[string]string{labelPolicy: id}}
		return &networkingv1.NetworkPolicy{
			TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: meta,
			Spec: networkingv1.NetworkPolicySpec{PodSelector: selector, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: rules},
		}
	}
	from := func(peer networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{peer}}
	}
	switch id {
	case PolicyAllowLabel:
		policy := ingress(from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{labelApp: "frontend"}}}))
		policy.Spec.PodSelector.MatchLabels = map[string]string{labelApp: "nginx"}
		return policyPlay{policy, over(other, subject), over(frontend, subject)}
	case PolicyAllowNamespace:
		policy := ingress(from(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
			MatchLabels: map[string]string{"kubernetes.io/metadata.name": GuestsNamespace}}}))
		return policyPlay{policy, over(other, subject), over(atPod(c.Visitor), subject)}
	case PolicyAllowPort:
		port := intstr.FromInt32(agent.PortHTTP)
		policy := ingress(networkingv1.NetworkPolicyIngressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: &port}}})
		return policyPlay{policy, leg{From: other, To: subject, Kind: agent.TCP}, over(other, subject)}
	case PolicyEgressDeny:
		policy := ingress()
		policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
		return policyPlay{policy, over(subject, other), over(other, subject)}
	default: // PolicyDefaultDeny: no rule, so nothing enters; its neighbours are left alone
		return policyPlay{ingress(), over(other, subject), over(other, frontend)}
	}
}

// over is a leg of HTTP.
func over(from, to Ref) leg { return leg{From: from, To: to, Kind: agent.HTTP} }

func indexOf(all []string, one string) int {
	for i, s := range all {
		if s == one {
			return i
		}
	}
	return -1
}

// probe makes a leg's probe; a Pod's address is known only now.
func (w world) probe(l leg, timeout time.Duration) (agent.Probe, error) {
	if why := w.lacking["pod/"+l.To.Name]; why != "" {
		return agent.Probe{}, unasked{fmt.Errorf("%s", why)}
	}
	p := agent.Probe{Kind: l.Kind, Method: l.Method, TimeoutMillis: int(timeout.Milliseconds())}
	if l.Kind == agent.TCP {
		p.Target = joinPort(w.podIPs[l.To.Name], agent.PortTCP)
	} else {
		p.Target = "http://" + joinPort(w.podIPs[l.To.Name], agent.PortHTTP) + or(l.Path, "/")
	}
	return p, nil
}

// stage is what a policy is played on: the cluster and its agents, or a fake of them.
type stage interface {
	Ask(ctx context.Context, from Ref, probe agent.Probe) (agent.Result, error)
	Apply(ctx context.Context, policy runtime.Object) error
	Remove(ctx context.Context, policy runtime.Object) error
}

// tempo is the patience of a policy's play.
type tempo struct {
	Control time.Duration // for a leg that has to work to work
	Effect  time.Duration // for an enforced policy to take effect, and to end
	Watch   time.Duration // how long a policy that is not enforced is watched having no effect
	Pause   time.Duration // between two probes
	Probe   time.Duration // for one probe's answer
}

// late is how many times longer than its bound a policy's effect is waited for, so that
// one that comes late is told from one that never comes.
const late = 2

// usualTempo gives it for machines that are so many times slower.
func usualTempo(settle, slower time.Duration) tempo {
	return tempo{Control: settle, Effect: 10 * time.Second * slower, Watch: 1200 * time.Millisecond * slower, Pause: 100 * time.Millisecond, Probe: 300 * time.Millisecond * slower}
}

// player plays one policy.
type player struct {
	world
	on stage
	tempo
}

// try asks a leg once. Its error is about the probe, never about the path.
func (p player) try(ctx context.Context, l leg, patience time.Duration) (agent.Result, error) {
	probe, err := p.probe(l, patience)
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
func (p player) until(ctx context.Context, l leg, bound time.Duration, good func(agent.Result) bool) (r agent.Result, took time.Duration, err error) {
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
func (w world) perform(ctx context.Context, p Path, on stage, t tempo) finding {
	play := policyOf(p.ID, w.cast)
	f := finding{Outcome: Pass, nodes: []string{play.Denied.From.Node, play.Denied.To.Node, play.Allowed.From.Node, play.Allowed.To.Node}}
	fail := func(outcome, format string, args ...any) finding {
		f.Outcome, f.Reason = outcome, fmt.Sprintf(format, args...)
		return f
	}
	by := player{w, on, t}
	for i, l := range []leg{play.Denied, play.Allowed} {
		r, _, err := by.until(ctx, l, t.Control, replied)
		if err != nil {
			return fail(Broken, "the control before the policy: %v", err)
		}
		f.step(StepBefore, []string{"denied", "allowed"}[i]+" path before the policy", "a reply", said(r), r.Outcome == agent.Reply)
		if r.Outcome != agent.Reply {
			return fail(Broken, "the positive control before the policy got %s from %s to %s: its deny would prove nothing", said(r), l.From.Name, l.To.Name)
		}
		if l == play.Denied {
			f.Observed = observedOf(r)
		}
	}

	remove, err := by.apply(ctx, play.Policy)
	if err != nil {
		return fail(Broken, "apply the policy: %v", err)
	}
	defer remove()

	applied := time.Now()
	window := late * t.Effect
	if p.Expected == NotEnforced {
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
				return fail(Broken, "under the policy: %v", err)
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
		return fail(Broken, "under the policy: %v", err)
	}
	if err := remove(); err != nil {
		return fail(Broken, "remove the policy: %v", err)
	}
	denied := map[bool]string{true: "blocked", false: "a reply"}
	if p.Expected == Enforced {
		f.step(StepDenied, "denied under the policy", "blocked", denied[blocked], blocked)
		if blocked {
			f.within(SecondsToEffect, t.Effect, effect)
		}
	} else {
		f.step(StepDenied, "denied under the policy", "a reply (not enforced)", denied[blocked]+map[bool]string{false: " (not enforced)"}[blocked], !blocked)
	}
	f.step(StepAllowed, "allowed under the policy", "a reply", said(allowed), allowed.Outcome == agent.Reply)

	after, took, err := by.until(ctx, play.Denied, late*t.Effect, replied)
	if err != nil {
		return fail(Broken, "the control after the policy: %v", err)
	}
	f.step(StepAfter, "after the policy", "a reply", said(after), after.Outcome == agent.Reply)
	if blocked && after.Outcome == agent.Reply {
		f.within("seconds to end", t.Effect, took)
	}
	return f
}

func observedOf(r agent.Result) Observed {
	o := Observed{RTTMicros: medianRTT(r)}
	if len(r.Answers) > 0 && r.Answers[0].Seen != nil {
		seen := r.Answers[0].Seen
		o.SourceIP, o.Backend, o.Node = seen.Remote, seen.Name, seen.Node
	}
	return o
}

// policyCommand applies a policy and asks a leg that it denies.
func (w world) policyCommand(policy runtime.Object, denied leg) string {
	text, err := json.Marshal(policy)
	if err != nil {
		text = []byte(err.Error())
	}
	probe, _ := w.probe(denied, time.Second)
	return fmt.Sprintf("echo %s | netlab kubectl %s -- apply -f - && %s", quoted([]string{string(text)}), w.plan.Lab,
		w.command(ask{From: denied.From, Probe: probe}))
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
