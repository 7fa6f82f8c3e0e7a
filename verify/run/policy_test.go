package run

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// enforcement fakes a CNI that is correct, or wrong in one way.
type enforcement struct {
	w        observe.Snapshot
	play     checks.Scenario
	enforces bool
	delay    time.Duration // before a change takes effect
	lossy    int           // every lossy-th probe is lost, policy or not; 0 for none
	slow     int           // so many probes after the policy was applied get no reply, policy or not
	overdoes bool          // denies the allowed leg too
	sticks   bool          // goes on denying after the policy is removed
	dead     bool          // nothing ever passes
	refuses  error         // of Apply
	mute     error         // of Ask
	rejects  bool          // denies by RST instead of silence

	relabel          time.Duration // before a changed label takes effect
	labelled         bool
	changed          time.Time // the label
	applied, removed time.Time
	mutex            sync.Mutex
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

func (e *enforcement) Label(_ context.Context, pod observe.Ref, key, value string) error {
	e.log = append(e.log, strings.TrimSpace("label "+pod.Name+" "+key+" "+value))
	e.labelled, e.changed = value != "", time.Now()
	return nil
}

func (e *enforcement) Ask(_ context.Context, from observe.Ref, p agent.Probe) (agent.Result, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.probes++
	if e.mute != nil && !e.applied.IsZero() {
		return agent.Result{}, e.mute
	}
	if !e.applied.IsZero() && e.slow > 0 {
		e.slow--
		return observetest.Silence(agent.Timeout, "i/o timeout"), nil
	}
	on := !e.applied.IsZero() && time.Since(e.applied) >= e.delay && (e.removed.IsZero() || time.Since(e.removed) < e.delay || e.sticks)
	denied := slices.ContainsFunc(e.play.Denied, func(l checks.Leg) bool {
		want, err := legProbe(e.w, l, 0)
		return err == nil && from == l.From && p.Kind == want.Kind && p.Target == want.Target
	})
	if labelled := e.labelled == (time.Since(e.changed) >= e.relabel); !e.changed.IsZero() && labelled {
		denied = false
	}
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
	return checks.Row{ID: id}.Policy().Scenario(w)
}

func TestPolicyPlay(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Enforcing(), observetest.Healthy(plan))
	quick := timing{Control: 60 * time.Millisecond, Effect: 400 * time.Millisecond, Watch: 60 * time.Millisecond, Pause: 5 * time.Millisecond, Probe: time.Millisecond}
	rows := []struct {
		name     string
		expected string
		on       *enforcement
		outcome  string
		reason   string
		property string // how "name=observed" of one begins
		log      string
	}{
		{"enforced", report.Enforced, &enforcement{enforces: true}, report.Pass, "", "seconds to effect=0.", "apply remove"},
		{"enforced by RST", report.Enforced, &enforcement{enforces: true, rejects: true}, report.Pass, "", "denied under the policy=blocked", "apply remove"},
		{"enforced late", report.Enforced, &enforcement{enforces: true, delay: 150 * time.Millisecond}, report.Pass, "", "seconds to end=0.", "apply remove"},
		{"expected, but not enforced", report.Enforced, &enforcement{}, report.Fail, "denied under the policy: expected blocked, observed a reply", "denied after the policy=a reply", "apply remove"},
		{"not enforced, as expected", report.NotEnforced, &enforcement{}, report.Pass, "", "denied under the policy=a reply (not enforced)", "apply remove"},
		{"enforced against expectation", report.NotEnforced, &enforcement{enforces: true}, report.Fail, "observed blocked", "", "apply remove"},
		{"lost packets are not a policy", report.NotEnforced, &enforcement{lossy: 3}, report.Pass, "", "", "apply remove"},
		{"late replies are not a policy", report.NotEnforced, &enforcement{slow: 4}, report.Pass, "", "denied under the policy=a reply (not enforced)", "apply remove"},
		{"blocks too much", report.Enforced, &enforcement{enforces: true, overdoes: true}, report.Fail, "allowed under the policy: expected a reply", "", "apply remove"},
		{"takes effect too late", report.Enforced, &enforcement{enforces: true, delay: 550 * time.Millisecond}, report.Fail, "seconds to effect: expected at most 0.4, observed 0.", "denied under the policy=blocked", "apply remove"},
		{"never ends", report.Enforced, &enforcement{enforces: true, sticks: true}, report.Fail, "after the policy: expected a reply", "", "apply remove"},
		{"no positive control before", report.Enforced, &enforcement{dead: true}, report.Broken, "positive control before the policy got no reply in time", "", ""},
		{"policy refused by the API server", report.Enforced, &enforcement{refuses: errors.New("forbidden")}, report.Broken, "apply the policy: forbidden", "", "apply"},
		{"agent lost under the policy", report.Enforced, &enforcement{mute: errors.New("dial: no such file")}, report.Broken, "under the policy: dial: no such file", "", "apply remove"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			r.on.w, r.on.play = w, scenarioOf(checks.PolicyAllowLabel, w)
			f := policyRun{w, r.on, nil, quick}.play(context.Background(), r.on.play, nil, r.expected)
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

// TestRelabel: a label that comes and goes is decided by both ways, within the CNI's bound.
func TestRelabel(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	quick := timing{Control: 60 * time.Millisecond, Effect: 200 * time.Millisecond, Pause: 2 * time.Millisecond, Probe: time.Millisecond}
	for _, c := range []struct {
		name    string
		on      *enforcement
		bound   int // of the CNI, in seconds
		outcome string
		reason  string
		took    time.Duration // at least, each way
	}{
		{"at once", &enforcement{enforces: true}, 0, report.Pass, "", 0},
		{"late, as the CNI says", &enforcement{enforces: true, relabel: 300 * time.Millisecond}, 1, report.Pass, "", 290 * time.Millisecond}, // the fake counts from a moment before
		{"too late", &enforcement{enforces: true, relabel: 300 * time.Millisecond}, 0, report.Fail, "seconds from the label to its effect: expected at most 0.2, observed 0.3", 0},
		{"never", &enforcement{enforces: true, relabel: time.Hour}, 0, report.Fail, "with the label: expected a reply", 0},
		{"not enforced", &enforcement{}, 0, report.Fail, "without the label: expected blocked, observed a reply", 0},
		{"no control", &enforcement{dead: true}, 0, report.Broken, "a deny would prove nothing", 0},
	} {
		support := plantest.Enforcing()
		support.RelabelSeconds = c.bound
		w := observetest.Snapshot(plan, support, observetest.Healthy(plan))
		x := scenarioOf(checks.PolicyRelabel, w)
		c.on.w, c.on.play = w, x
		f := policyRun{w, c.on, nil, quick}.play(t.Context(), x, x.Policy, report.Enforced)
		if f.Outcome != c.outcome || !strings.Contains(f.Reason, c.reason) {
			t.Errorf("%s: %s: %s", c.name, f.Outcome, f.Reason)
		}
		for _, key := range []string{report.MeasuredLabelled, report.MeasuredUnlabelled} {
			m, ok := report.Result{Properties: f.Properties}.Measured(key)
			if want := c.outcome == report.Pass; want != ok && want || ok && m.Value < c.took.Seconds() {
				t.Errorf("%s: %s is %+v", c.name, key, m)
			}
		}
		if f.Outcome == report.Pass {
			stepped(t, f)
		}
		if log := strings.Join(c.on.log, ", "); c.on.labelled || strings.Contains(log, "apply") != strings.Contains(log, "remove") {
			t.Errorf("%s: left behind: %s", c.name, log)
		}
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
			x.Finding = policyRun{w, &proxy{subject: checks.L7Rule(plan).Value}, nil, quick}.play(t.Context(), scenarioOf(p.ID, w), labelled(ciliums(t)), p.Expected)
		case p.ID == checks.PolicyAllowPort:
			x.Finding = policyRun{w, &enforcement{w: w, play: scenarioOf(p.ID, w)}, nil, quick}.play(t.Context(), scenarioOf(p.ID, w), nil, p.Expected) // fails
		case p.ID == checks.PolicyAllowLabel:
			x.Finding = policyRun{w, &enforcement{w: w, play: scenarioOf(p.ID, w), dead: true}, nil, quick}.play(t.Context(), scenarioOf(p.ID, w), nil, p.Expected) // broken
		case p.ID == checks.PolicyDefaultDeny:
			x.Finding = policyRun{w, &enforcement{w: w, play: scenarioOf(p.ID, w), enforces: true, overdoes: true}, nil, quick}.play(t.Context(), scenarioOf(p.ID, w), nil, p.Expected)
		case p.Expected == report.Enforced:
			x.Finding = policyRun{w, &enforcement{w: w, play: scenarioOf(p.ID, w), enforces: true}, nil, quick}.play(t.Context(), scenarioOf(p.ID, w), nil, p.Expected)
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
	r := reportOf(w, rows, checks.Extent{}, "v1.19.6")
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
	on := &interrupting{enforcement: enforcement{w: w, play: scenarioOf(checks.PolicyDefaultDeny, w)}, cancel: cancel}
	policyRun{w, on, nil, usualTiming(time.Second, 1)}.play(ctx, on.play, nil, report.Enforced)
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

// TestTurns: of policies that select one Pod only one is in force at a time where they are enforced.
// Those that have no effect do not wait for each other.
func TestTurns(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	for _, support := range []components.Support{plantest.Flannel(), plantest.Enforcing()} {
		synctest.Test(t, func(t *testing.T) {
			w := observetest.Snapshot(plan, support, observetest.Healthy(plan))
			on := &turns{inForce: map[string]bool{}}
			var paths []checks.Row
			for _, p := range checks.Rows(plan, support) {
				if p.Policy() != nil && p.Skip == "" && !p.Policy().Scenario(w).Relabel && p.ID != checks.PolicyL7 && p.ID != checks.PolicyFQDN {
					paths = append(paths, p)
				}
			}
			rows := verification{snapshot: w, settle: time.Second, on: on}.all(t.Context(), paths)
			for _, x := range rows {
				if !support.NetworkPolicy && x.Finding.Outcome != report.Pass {
					t.Errorf("%s: %s %s", x.Row.ID, x.Finding.Outcome, x.Finding.Reason)
				}
			}
			if on.of != len(paths) {
				t.Errorf("%d turns of %d policies", on.of, len(paths))
			}
			if support.NetworkPolicy && len(on.overlaps) > 0 {
				t.Errorf("in force at once on one Pod: %v", on.overlaps)
			}
			if !support.NetworkPolicy && on.most != len(paths) {
				t.Errorf("%d of %d policies that have no effect at once", on.most, len(paths))
			}
		})
	}
}

// turns notes which policies are in force.
type turns struct {
	enforcement
	inForce  map[string]bool
	of, most int
	overlaps []string
}

func (s *turns) Apply(_ context.Context, policy runtime.Object) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	name := policy.(*networkingv1.NetworkPolicy).Name
	for other := range s.inForce {
		if (checks.Row{ID: other}).Policy().Pod() == (checks.Row{ID: name}).Policy().Pod() {
			s.overlaps = append(s.overlaps, other+" and "+name)
		}
	}
	s.inForce[name] = true
	s.of, s.most = s.of+1, max(s.most, len(s.inForce))
	return nil
}

func (s *turns) Remove(_ context.Context, policy runtime.Object) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.inForce, policy.(*networkingv1.NetworkPolicy).Name)
	return nil
}
