package run

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// proxy fakes the enforcement of an L7 policy: correct, or wrong in one way.
type proxy struct {
	subject     string
	delay       time.Duration // before a change takes effect
	idle        bool          // lets everything through
	blind       bool          // does not look at the method
	greedy      bool          // refuses everything
	silent      bool          // drops what it should refuse
	sticks      bool          // goes on after the policy is removed
	dead        bool          // nothing ever answers
	foreign     bool          // another agent answers the allowed request
	deniedByPod bool          // the 403 comes from an agent, not from a proxy
	refuses     error         // of Apply
	mute        error         // of Ask, once the policy is on

	applied, removed time.Time
	log              []string
}

func (p *proxy) Apply(context.Context, runtime.Object) error {
	p.log = append(p.log, "apply")
	p.applied = time.Now()
	return p.refuses
}

func (p *proxy) Remove(context.Context, runtime.Object) error {
	p.log = append(p.log, "remove")
	p.removed = time.Now()
	return nil
}

func (p *proxy) Label(context.Context, observe.Ref, string, string) error { return nil }

func (p *proxy) Ask(_ context.Context, _ observe.Ref, probe agent.Probe) (agent.Result, error) {
	u, err := url.Parse(probe.Target)
	if err != nil {
		return agent.Result{}, err
	}
	if p.mute != nil && !p.applied.IsZero() {
		return agent.Result{}, p.mute
	}
	on := !p.applied.IsZero() && time.Since(p.applied) >= p.delay && (p.removed.IsZero() || time.Since(p.removed) < p.delay || p.sticks)
	allowed := u.Path == "/public" && (probe.Method == http.MethodGet || p.blind)
	status, seen := http.StatusOK, &agent.Seen{Name: p.subject, Method: probe.Method, Path: u.Path}
	switch {
	case p.dead || on && !allowed && p.silent:
		return observetest.Silence(agent.Timeout, "i/o timeout"), nil
	case on && !p.idle && (!allowed || p.greedy):
		status = http.StatusForbidden
		if !p.deniedByPod {
			seen = nil
		}
	case on && p.foreign:
		seen.Name = "stranger"
	}
	return observetest.AnswersOf(agent.Answer{Outcome: agent.Reply, RTTMicros: 300, Status: status, Seen: seen}), nil
}

func TestL7Play(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Enforcing(), observetest.Healthy(plan))
	quick := timing{Control: 40 * time.Millisecond, Effect: 200 * time.Millisecond, Pause: 2 * time.Millisecond, Probe: time.Millisecond}
	subject := checks.L7Rule(plan).Value
	rows := []struct {
		name    string
		on      proxy
		outcome string
		reason  string
		log     string
	}{
		{"enforced", proxy{}, report.Pass, "", "apply remove"},
		{"enforced late", proxy{delay: 60 * time.Millisecond}, report.Pass, "", "apply remove"},
		{"takes effect too late", proxy{delay: 300 * time.Millisecond}, report.Fail, "seconds to effect: expected at most 0.2, observed 0.", "apply remove"},
		{"not enforced", proxy{idle: true}, report.Fail, "GET /private under the policy: expected 403 from the proxy, observed 200 from " + subject, "apply remove"},
		{"blind to the method", proxy{blind: true}, report.Fail, "POST /public under the policy: expected 403 from the proxy, observed 200", "apply remove"},
		{"refuses too much", proxy{greedy: true}, report.Fail, "GET /public under the policy: expected 200 from " + subject + ", observed 403 from the proxy", "apply remove"},
		{"no reply is not an L7 policy", proxy{silent: true}, report.Fail, "observed no reply in time", "apply remove"},
		{"the Pod itself says 403", proxy{deniedByPod: true}, report.Fail, "observed 403 from " + subject, "apply remove"},
		{"led elsewhere", proxy{foreign: true}, report.Fail, "observed 200 from stranger", "apply remove"},
		{"never ends", proxy{sticks: true}, report.Fail, "GET /private after the policy: expected 200", "apply remove"},
		{"no positive control before", proxy{dead: true}, report.Broken, "positive control before the policy got no reply in time to GET /public", ""},
		{"refused by the API server", proxy{refuses: errors.New("no matches for kind")}, report.Broken, "apply the policy: no matches", "apply"},
		{"agent lost under the policy", proxy{mute: errors.New("dial: no such file")}, report.Broken, "under the policy: dial", "apply remove"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			r.on.subject = subject
			f := policyRun{w, &r.on, nil, quick}.play(context.Background(), scenarioOf(checks.PolicyL7, w), &unstructured.Unstructured{}, report.Enforced)
			if f.Outcome != r.outcome || !strings.Contains(f.Reason, r.reason) {
				t.Errorf("%s: %s; want %s: %s", f.Outcome, f.Reason, r.outcome, r.reason)
			}
			if got := strings.Join(r.on.log, " "); got != r.log {
				t.Errorf("did %q, want %q", got, r.log)
			}
			effect := false
			for _, p := range f.Properties {
				effect = effect || p.Measurement != nil && p.Measurement.Key == report.MeasuredEffect
			}
			if r.outcome == report.Pass {
				stepped(t, f)
			}
			if r.outcome == report.Pass && !effect {
				t.Errorf("no time to effect: %+v", f.Properties)
			}
		})
	}
}

// With a CNI that supports it, policy-l7 is a row like the others, tested last on a Pod that
// only its rule selects; else it is skipped with the CNI's reason.
func TestL7Path(t *testing.T) {
	for _, scenario := range []string{"quickstart", "single-node", "no-lb"} {
		plan := plantest.Plan(t, scenario)
		able := plantest.Enforcing()
		able.L7Policy, able.L7Reason = true, ""
		rule := checks.L7Rule(plan)
		var selected []string
		for _, p := range checks.Pods(plan).All() {
			if p.Namespace == rule.Namespace && p.Labels[rule.Label] == rule.Value {
				selected = append(selected, p.Name)
			}
		}
		paths := checks.Rows(plan, able)
		last := paths[len(paths)-1]
		if last.ID != checks.PolicyL7 || last.Skip != "" || last.Expected != report.Enforced || len(selected) != 1 || selected[0] != last.To.Name {
			t.Errorf("%s: %+v selects %v", scenario, last, selected)
		}
		paths = checks.Rows(plan, plantest.Enforcing())
		if last = paths[len(paths)-1]; last.ID != checks.PolicyL7 || last.Skip != "no Envoy" {
			t.Errorf("%s: without a proxy: %+v", scenario, last)
		}
		w := observetest.Snapshot(plan, able, observetest.Healthy(plan))
		on := &proxy{subject: rule.Value}
		r := verification{snapshot: w, on: on, settle: time.Millisecond, own: map[string]unstructured.Unstructured{checks.PolicyL7: ciliums(t)}}
		rows := r.all(context.Background(), checks.Rows(plan, able)[len(paths)-1:])
		if f := rows[0].Finding; f.Outcome != report.Pass || !strings.Contains(rows[0].command, "CiliumNetworkPolicy") || !strings.Contains(rows[0].command, "/private") {
			t.Errorf("%s: %s %s by %s", scenario, f.Outcome, f.Reason, rows[0].command)
		}
	}
}

// ciliums is Cilium's object for the rule.
func ciliums(t *testing.T) unstructured.Unstructured {
	t.Helper()
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	plan := plantest.Plan(t, "quickstart")
	plan.CNI.Name = "cilium"
	plan.CNI.Version, plan.CNI.Options = "", nil
	set, err := catalog.Resolve(plan)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := set.L7Policy(checks.L7Rule(plan))
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// A policy that a killed verification left goes, once its kind is known to the cluster.
func TestL7PolicyLeftOver(t *testing.T) {
	ctx := context.Background()
	plan := plantest.Plan(t, "quickstart")
	policy := labelled(ciliums(t))
	resources := Options{Policies: map[string]unstructured.Unstructured{checks.PolicyL7: ciliums(t)}}.policyResources()
	if want := (schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumnetworkpolicies"}); len(resources) != 1 || resources[0] != want {
		t.Fatalf("it is among %v, want %v", resources, want)
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(scheme.Scheme, map[schema.GroupVersionResource]string{resources[0]: "CiliumNetworkPolicyList"})
	live := liveCluster{client: client}
	if err := live.Apply(ctx, policy); err != nil {
		t.Fatal(err)
	}
	if err := workload.Apply(ctx, client, workload.Lab{Plan: plan, Pods: checks.Pods(plan), Image: "x"}, resources...); err != nil {
		t.Fatal(err)
	}
	_, err := client.Resource(resources[0]).Namespace(workload.Namespace).Get(ctx, checks.PolicyL7, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
	if err := live.Remove(ctx, policy); err != nil {
		t.Errorf("removing it a second time: %v", err)
	}

	young := fake.NewSimpleDynamicClientWithCustomListKinds(scheme.Scheme, map[schema.GroupVersionResource]string{resources[0]: "CiliumNetworkPolicyList"})
	young.PrependReactor("list", resources[0].Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(resources[0].GroupResource(), "")
	})
	if err := workload.Apply(ctx, young, workload.Lab{Plan: plan, Pods: checks.Pods(plan), Image: "x"}, resources...); err != nil {
		t.Errorf("before the kind is known: %v", err)
	}
	if named, _ := meta.Accessor(policy); named.GetLabels()[workload.LabelOwner] == "" || named.GetNamespace() != workload.Namespace {
		t.Errorf("it has the labels %v in %s", named.GetLabels(), named.GetNamespace())
	}
}
