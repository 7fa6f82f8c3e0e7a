package run

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// labelled labels a policy as the verification's, so that a leftover one is found.
func labelled(policy unstructured.Unstructured) *unstructured.Unstructured {
	own := policy.DeepCopy()
	own.SetLabels(workload.OwnMeta("", "", own.GetLabels()).Labels)
	return own
}

// resourceOf is the API resource of a policy; for a kind that ends in Policy it ends in
// policies.
func resourceOf(policy runtime.Object) schema.GroupVersionResource {
	resource, _ := meta.UnsafeGuessKindToResource(policy.GetObjectKind().GroupVersionKind())
	return resource
}

// forbids applies and removes an L7 policy between its controls: before and after it the Pod
// itself answers each request; while it is in force, the Pod answers the allowed request,
// and a proxy answers the others with 403. No reply does not count as an L7 policy.
func (p policyRun) forbids(ctx context.Context, x checks.Scenario, policy runtime.Object) checks.Finding {
	subject := x.Allowed[0].To.Name
	f := checks.Finding{Outcome: report.Pass, Nodes: []string{x.Allowed[0].From.Node, x.Allowed[0].To.Node}}
	served := func(r agent.Result) bool { return answerer(r) == subject }
	all := append(x.Allowed[:1:1], x.Denied...)
	want := "200 from " + subject
	for _, l := range all {
		r, err := p.control(ctx, l, served)
		if err != nil {
			return broken(f, "the control before the policy: %v", err)
		}
		step(&f, report.StepBefore, l.Request()+" before the policy", want, answered(r), served(r))
		if !served(r) {
			return broken(f, "the positive control before the policy got %s to %s: a deny would prove nothing", answered(r), l.Request())
		}
		f.Observed = observedOf(r)
	}
	remove, err := p.apply(ctx, policy)
	if err != nil {
		return broken(f, "apply the policy: %v", err)
	}
	defer remove()

	applied := time.Now()
	enforced, effect := true, time.Duration(0)
	for _, l := range x.Denied {
		r, _, err := p.until(ctx, l, late*p.Effect-time.Since(applied), forbidden)
		if err != nil {
			return broken(f, "under the policy: %v", err)
		}
		step(&f, report.StepDenied, l.Request()+" under the policy", string(checks.Forbidden), answered(r), forbidden(r))
		enforced, effect = enforced && forbidden(r), time.Since(applied)
	}
	if enforced {
		f.Within(report.MeasuredEffect, "seconds to effect", p.Effect, effect)
	}
	r, _, err := p.until(ctx, x.Allowed[0], p.Control, served)
	if err != nil {
		return broken(f, "under the policy: %v", err)
	}
	step(&f, report.StepAllowed, x.Allowed[0].Request()+" under the policy", want, answered(r), served(r))
	if err := remove(); err != nil {
		return broken(f, "remove the policy: %v", err)
	}

	removed := time.Now()
	for _, l := range all {
		r, _, err := p.until(ctx, l, late*p.Effect-time.Since(removed), served)
		if err != nil {
			return broken(f, "the control after the policy: %v", err)
		}
		step(&f, report.StepAfter, l.Request()+" after the policy", want, answered(r), served(r))
	}
	if f.Outcome == report.Pass {
		f.Within(report.MeasuredEnd, "seconds to end", p.Effect, time.Since(removed))
	}
	return f
}

// forbidden reports an HTTP 403 that did not come from an agent: agents never send one.
func forbidden(r agent.Result) bool {
	return r.Outcome == agent.Reply && r.Answers[0].Status == http.StatusForbidden && r.Answers[0].Seen == nil
}

// answerer is the name of the agent that answered a request with 200, "" where none did.
func answerer(r agent.Result) string {
	if r.Outcome != agent.Reply || r.Answers[0].Status != http.StatusOK || r.Answers[0].Seen == nil {
		return ""
	}
	return r.Answers[0].Seen.Name
}

// answered describes the answer to a request.
func answered(r agent.Result) string {
	switch {
	case r.Outcome != agent.Reply:
		return checks.Said(r)
	case forbidden(r):
		return string(checks.Forbidden)
	case r.Answers[0].Seen != nil:
		return fmt.Sprintf("%d from %s", r.Answers[0].Status, r.Answers[0].Seen.Name)
	}
	return fmt.Sprintf("%d, not from an agent", r.Answers[0].Status)
}
