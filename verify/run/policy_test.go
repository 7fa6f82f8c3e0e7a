package run

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// enforcement fakes a CNI that is correct, or wrong in one way.
type enforcement struct {
	play     checks.Scenario
	enforces bool
	delay    time.Duration // before a change takes effect
	lossy    int           // every lossy-th probe is lost, policy or not; 0 for none
	overdoes bool          // denies the allowed leg too
	sticks   bool          // goes on denying after the policy is removed
	dead     bool          // nothing ever passes
	refuses  error         // of Apply
	mute     error         // of Ask
	rejects  bool          // denies by RST instead of silence

	applied, removed time.Time
	probes           int
	log              []string
}

func (e *enforcement) Apply(context.Context, runtime.Object) error {
	e.log = append(e.log, "apply")
	e.applied = time.Now()
	return e.refuses
}

func (e *enforcement) Remove(context.Context, runtime.Object) error {
	e.log = append(e.log, "remove")
	e.removed = time.Now()
	return nil
}

func (e *enforcement) Ask(_ context.Context, from observe.Ref, p agent.Probe) (agent.Result, error) {
	e.probes++
	if e.mute != nil && !e.applied.IsZero() {
		return agent.Result{}, e.mute
	}
	on := !e.applied.IsZero() && time.Since(e.applied) >= e.delay && (e.removed.IsZero() || time.Since(e.removed) < e.delay || e.sticks)
	denied := from == e.play.Denied[0].From && p.Kind == e.play.Denied[0].Kind
	if e.dead || e.enforces && on && (denied || e.overdoes) || e.lossy > 0 && e.probes%e.lossy == 0 {
		if e.rejects {
			return observetest.Silence(agent.Refused, "connection refused"), nil
		}
		return observetest.Silence(agent.Timeout, "i/o timeout"), nil
	}
	return observetest.AnswersOf(observetest.Reply("subject", "w1", "10.244.1.2")), nil
}

// scenarioOf is the scenario of a policy's path.
func scenarioOf(id string, w observe.Snapshot) checks.Scenario {
	return checks.Row{ID: id}.Policy().Scenario(w.Pods)
}

func TestPolicyPlay(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Enforcing(), observetest.Healthy(plan))
	quick := timing{Control: 60 * time.Millisecond, Effect: 400 * time.Millisecond, Watch: 60 * time.Millisecond, Pause: 5 * time.Millisecond, Probe: time.Millisecond}
	rows := []struct {
		name     string
		expected string
		on       enforcement
		outcome  string
		reason   string
		property string // how "name=observed" of one begins
		log      string
	}{
		{"enforced", report.Enforced, enforcement{enforces: true}, report.Pass, "", "seconds to effect=0.", "apply remove"},
		{"enforced by RST", report.Enforced, enforcement{enforces: true, rejects: true}, report.Pass, "", "denied under the policy=blocked", "apply remove"},
		{"enforced late", report.Enforced, enforcement{enforces: true, delay: 150 * time.Millisecond}, report.Pass, "", "seconds to end=0.", "apply remove"},
		{"expected, but not enforced", report.Enforced, enforcement{}, report.Fail, "denied under the policy: expected blocked, observed a reply", "after the policy=a reply", "apply remove"},
		{"not enforced, as expected", report.NotEnforced, enforcement{}, report.Pass, "", "denied under the policy=a reply (not enforced)", "apply remove"},
		{"enforced against expectation", report.NotEnforced, enforcement{enforces: true}, report.Fail, "observed blocked", "", "apply remove"},
		{"lost packets are not a policy", report.NotEnforced, enforcement{lossy: 3}, report.Pass, "", "", "apply remove"},
		{"blocks too much", report.Enforced, enforcement{enforces: true, overdoes: true}, report.Fail, "allowed under the policy: expected a reply", "", "apply remove"},
		{"takes effect too late", report.Enforced, enforcement{enforces: true, delay: 550 * time.Millisecond}, report.Fail, "seconds to effect: expected at most 0.4, observed 0.", "denied under the policy=blocked", "apply remove"},
		{"never ends", report.Enforced, enforcement{enforces: true, sticks: true}, report.Fail, "after the policy: expected a reply", "", "apply remove"},
		{"no positive control before", report.Enforced, enforcement{dead: true}, report.Broken, "positive control before the policy got no reply in time", "", ""},
		{"policy refused by the API server", report.Enforced, enforcement{refuses: errors.New("forbidden")}, report.Broken, "apply the policy: forbidden", "", "apply"},
		{"agent lost under the policy", report.Enforced, enforcement{mute: errors.New("dial: no such file")}, report.Broken, "under the policy: dial: no such file", "", "apply remove"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			r.on.play = scenarioOf(checks.PolicyAllowLabel, w)
			f := policyRun{w, &r.on, quick}.play(context.Background(), r.on.play, nil, r.expected)
			if f.Outcome != r.outcome || !strings.Contains(f.Reason, r.reason) {
				t.Errorf("%s: %s; want %s: %s", f.Outcome, f.Reason, r.outcome, r.reason)
			}
			if got := strings.Join(r.on.log, " "); got != r.log {
				t.Errorf("did %q, want %q", got, r.log)
			}
			if f.Outcome == report.Pass {
				stepped(t, f)
			}
			if r.property != "" {
				found := false
				for _, p := range f.Properties {
					found = found || strings.HasPrefix(p.Name+"="+p.Observed, r.property)
				}
				if !found {
					t.Errorf("no property %s in %+v", r.property, f.Properties)
				}
			}
		})
	}
}

// stepped: a policy that passes shows each of its steps.
func stepped(t *testing.T, f checks.Finding) {
	t.Helper()
	for _, s := range report.Steps() {
		if !slices.ContainsFunc(f.Properties, func(p report.Property) bool { return p.Step == s && p.OK }) {
			t.Errorf("no property of step %s in %+v", s, f.Properties)
		}
	}
}

// TestPolicyMatrix: the matrix shows the steps, whatever their names are.
func TestPolicyMatrix(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	able := plantest.Enforcing()
	able.L7Policy, able.L7Reason = true, ""
	w := observetest.Snapshot(plan, able, observetest.Healthy(plan))
	quick := timing{Control: 40 * time.Millisecond, Effect: 200 * time.Millisecond, Pause: 2 * time.Millisecond, Probe: time.Millisecond}
	var rows []*attempt
	for _, p := range checks.Rows(plan, able) {
		x := &attempt{Judged: checks.Judged{Row: p}}
		switch {
		case p.ID == checks.PolicyL7:
			x.Finding = policyRun{w, &proxy{subject: checks.L7Rule(plan).Value}, quick}.play(t.Context(), scenarioOf(p.ID, w), ownL7(ciliums(t)), p.Expected)
		case p.ID == checks.PolicyAllowPort:
			x.Finding = policyRun{w, &enforcement{play: scenarioOf(p.ID, w)}, quick}.play(t.Context(), scenarioOf(p.ID, w), nil, p.Expected) // fails
		case p.ID == checks.PolicyAllowLabel:
			x.Finding = policyRun{w, &enforcement{play: scenarioOf(p.ID, w), dead: true}, quick}.play(t.Context(), scenarioOf(p.ID, w), nil, p.Expected) // broken
		case p.Expected == report.Enforced:
			x.Finding = policyRun{w, &enforcement{play: scenarioOf(p.ID, w), enforces: true}, quick}.play(t.Context(), scenarioOf(p.ID, w), nil, p.Expected) // in default-deny it denies the allowed path too
		default:
			continue
		}
		rows = append(rows, x)
	}
	for _, x := range rows { // how long it took differs from run to run
		for i, q := range x.Finding.Properties {
			if strings.HasPrefix(q.Name, "seconds ") {
				x.Finding.Properties[i].Observed, x.Finding.Properties[i].Measurement.Value = "0.1", 0.1
			}
		}
	}
	r := reportOf(w, rows, "v1.19.6")
	var matrix, asJSON bytes.Buffer
	if err := errors.Join(r.WriteMatrix(&matrix, checks.Layout(), false), r.WriteJSON(&asJSON)); err != nil {
		t.Fatal(err)
	}
	plantest.Golden(t, "report-policies-matrix.txt", matrix.String())
	plantest.Golden(t, "report-policies.json", asJSON.String()) // verify/page draws it
}

// TestPolicyInterrupted: a policy does not outlive an interrupted verification.
func TestPolicyInterrupted(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Enforcing(), observetest.Healthy(plan))
	ctx, cancel := context.WithCancel(context.Background())
	on := &interrupting{enforcement: enforcement{play: scenarioOf(checks.PolicyDefaultDeny, w)}, cancel: cancel}
	policyRun{w, on, usualTiming(time.Second, 1)}.play(ctx, on.play, nil, report.Enforced)
	if got := strings.Join(on.log, " "); got != "apply remove" {
		t.Errorf("did %q", got)
	}
	if on.after != nil {
		t.Errorf("removed with a dead context: %v", on.after)
	}
}

type interrupting struct {
	enforcement
	cancel func()
	after  error
}

func (i *interrupting) Apply(ctx context.Context, p runtime.Object) error {
	i.cancel()
	return i.enforcement.Apply(ctx, p)
}

func (i *interrupting) Remove(ctx context.Context, p runtime.Object) error {
	i.after = ctx.Err()
	return i.enforcement.Remove(ctx, p)
}
