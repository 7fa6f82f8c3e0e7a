package verify

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// l7Path is the one path that the L7 policy lets through, by GET.
const l7Path = "/public"

// L7Rule is the rule that PolicyL7 proves of a plan. Whose object enforces it is the
// CNI's affair.
func L7Rule(plan topology.Plan) components.HTTPRule {
	subject := l7PlayOf(castOf(plan)).Allowed.To
	return components.HTTPRule{Namespace: Namespace, Name: PolicyL7, Label: labelPolicy, Value: subject.Name,
		Port: agent.PortHTTP, Method: http.MethodGet, Path: l7Path}
}

// l7Play is the L7 policy's legs: of one client to one Pod, on one port, so that nothing
// but the request tells them apart.
type l7Play struct {
	Denied  []leg
	Allowed leg
}

// l7PlayOf borrows the Pod of PolicyAllowPort, whose name is the value of its label.
func l7PlayOf(c cast) l7Play {
	from, to := atPod(c.Echo[len(c.Echo)-1]), atPod(c.Policy[indexOf(policyIDs(), PolicyAllowPort)])
	request := func(method, path string) leg {
		return leg{From: from, To: to, Kind: agent.HTTP, Method: method, Path: path}
	}
	return l7Play{
		Denied:  []leg{request(http.MethodGet, "/private"), request(http.MethodPost, l7Path)},
		Allowed: request(http.MethodGet, l7Path),
	}
}

func (l leg) request() string { return l.Method + " " + l.Path }

// ownL7 marks a policy as the verification's, so that one that is left over is found.
func ownL7(policy unstructured.Unstructured) *unstructured.Unstructured {
	own := policy.DeepCopy()
	own.SetLabels(ownMeta("", "", own.GetLabels()).Labels)
	return own
}

// policyResources are those of the policies that are no NetworkPolicies.
func (o Options) policyResources() []schema.GroupVersionResource {
	if len(o.L7Policy.Object) == 0 {
		return nil
	}
	return []schema.GroupVersionResource{resourceOf(&o.L7Policy)}
}

// resourceOf is where the API server keeps a policy; that of a kind ending in Policy ends
// in policies.
func resourceOf(policy runtime.Object) schema.GroupVersionResource {
	resource, _ := meta.UnsafeGuessKindToResource(policy.GetObjectKind().GroupVersionKind())
	return resource
}

// performL7 plays the L7 policy between its controls: before and after it the Pod itself
// answers each request; while it is on, the Pod answers the one that is allowed, and a
// proxy answers the others with 403. Silence is no L7 policy.
func (w world) performL7(ctx context.Context, policy runtime.Object, on stage, t tempo) finding {
	play := l7PlayOf(w.cast)
	subject := play.Allowed.To.Name
	f := finding{Outcome: Pass, nodes: []string{play.Allowed.From.Node, play.Allowed.To.Node}}
	fail := func(outcome, format string, args ...any) finding {
		f.Outcome, f.Reason = outcome, fmt.Sprintf(format, args...)
		return f
	}
	by := player{w, on, t}
	served := func(r agent.Result) bool { return answerer(r) == subject }
	all := append([]leg{play.Allowed}, play.Denied...)

	for _, l := range all {
		r, _, err := by.until(ctx, l, t.Control, served)
		if err != nil {
			return fail(Broken, "the control before the policy: %v", err)
		}
		f.step(StepBefore, l.request()+" before the policy", "200 from "+subject, answered(r), served(r))
		if !served(r) {
			return fail(Broken, "the positive control before the policy got %s to %s: its deny would prove nothing", answered(r), l.request())
		}
		f.Observed = observedOf(r)
	}

	remove, err := by.apply(ctx, policy)
	if err != nil {
		return fail(Broken, "apply the policy: %v", err)
	}
	defer remove()
	applied := time.Now()
	enforced, effect := true, time.Duration(0)
	for _, l := range play.Denied {
		r, _, err := by.until(ctx, l, late*t.Effect-time.Since(applied), forbidden)
		if err != nil {
			return fail(Broken, "under the policy: %v", err)
		}
		f.step(StepDenied, l.request()+" under the policy", "403 from the proxy", answered(r), forbidden(r))
		enforced, effect = enforced && forbidden(r), time.Since(applied)
	}
	if enforced {
		f.within(SecondsToEffect, t.Effect, effect)
	}
	r, _, err := by.until(ctx, play.Allowed, t.Control, served)
	if err != nil {
		return fail(Broken, "under the policy: %v", err)
	}
	f.step(StepAllowed, play.Allowed.request()+" under the policy", "200 from "+subject, answered(r), served(r))
	if err := remove(); err != nil {
		return fail(Broken, "remove the policy: %v", err)
	}

	removed := time.Now()
	for _, l := range all {
		r, _, err := by.until(ctx, l, late*t.Effect-time.Since(removed), served)
		if err != nil {
			return fail(Broken, "the control after the policy: %v", err)
		}
		f.step(StepAfter, l.request()+" after the policy", "200 from "+subject, answered(r), served(r))
	}
	if f.Outcome == Pass {
		f.within("seconds to end", t.Effect, time.Since(removed))
	}
	return f
}

// forbidden reports an HTTP 403 that no agent gave: they give none.
func forbidden(r agent.Result) bool {
	return r.Outcome == agent.Reply && r.Answers[0].Status == http.StatusForbidden && r.Answers[0].Seen == nil
}

// answerer names the agent that answered a request with 200, "" where none did.
func answerer(r agent.Result) string {
	if r.Outcome != agent.Reply || r.Answers[0].Status != http.StatusOK || r.Answers[0].Seen == nil {
		return ""
	}
	return r.Answers[0].Seen.Name
}

// answered puts the answer to a request into words.
func answered(r agent.Result) string {
	switch {
	case r.Outcome != agent.Reply:
		return said(r)
	case forbidden(r):
		return "403 from the proxy"
	case r.Answers[0].Seen != nil:
		return fmt.Sprintf("%d from %s", r.Answers[0].Status, r.Answers[0].Seen.Name)
	}
	return fmt.Sprintf("%d from no agent", r.Answers[0].Status)
}
