package verify

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
)

// enforcement is a CNI that is good, or bad in one way.
type enforcement struct {
	play     policyPlay
	enforces bool
	delay    time.Duration // before a change takes effect
	lossy    int           // every so many-th probe is lost, policy or not; 0 for none
	overdoes bool          // denies the allowed leg too
	sticks   bool          // goes on denying after the policy is gone
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

func (e *enforcement) Ask(_ context.Context, from Ref, p agent.Probe) (agent.Result, error) {
	e.probes++
	if e.mute != nil && !e.applied.IsZero() {
		return agent.Result{}, e.mute
	}
	on := !e.applied.IsZero() && time.Since(e.applied) >= e.delay && (e.removed.IsZero() || time.Since(e.removed) < e.delay || e.sticks)
	denied := from == e.play.Denied.From && p.Kind == e.play.Denied.Kind
	if e.dead || e.enforces && on && (denied || e.overdoes) || e.lossy > 0 && e.probes%e.lossy == 0 {
		if e.rejects {
			return silence(agent.Refused, "connection refused"), nil
		}
		return silence(agent.Timeout, "i/o timeout"), nil
	}
	return answersOf(reply("subject", "w1", "10.244.1.2")), nil
}

func TestPolicyPlay(t *testing.T) {
	plan := planOf(t, "quickstart")
	w := worldOf(plan, enforcing(), healthy(plan))
	quick := tempo{Control: 60 * time.Millisecond, Effect: 400 * time.Millisecond, Watch: 60 * time.Millisecond, Pause: 5 * time.Millisecond, Probe: time.Millisecond}
	rows := []struct {
		name     string
		expected string
		on       enforcement
		outcome  string
		reason   string
		property string // how "name=observed" of one begins
		log      string
	}{
		{"enforced", Enforced, enforcement{enforces: true}, Pass, "", "seconds to effect=0.", "apply remove"},
		{"enforced by RST", Enforced, enforcement{enforces: true, rejects: true}, Pass, "", "denied under the policy=blocked", "apply remove"},
		{"enforced late", Enforced, enforcement{enforces: true, delay: 150 * time.Millisecond}, Pass, "", "seconds to end=0.", "apply remove"},
		{"expected, but not enforced", Enforced, enforcement{}, Fail, "denied under the policy: expected blocked, observed a reply", "after the policy=a reply", "apply remove"},
		{"not enforced, as expected", NotEnforced, enforcement{}, Pass, "", "denied under the policy=a reply (not enforced)", "apply remove"},
		{"enforced against expectation", NotEnforced, enforcement{enforces: true}, Fail, "observed blocked", "", "apply remove"},
		{"lost packets are no policy", NotEnforced, enforcement{lossy: 3}, Pass, "", "", "apply remove"},
		{"blocks too much", Enforced, enforcement{enforces: true, overdoes: true}, Fail, "allowed under the policy: expected a reply", "", "apply remove"},
		{"takes effect too late", Enforced, enforcement{enforces: true, delay: 550 * time.Millisecond}, Fail, "seconds to effect: expected at most 0.4, observed 0.", "denied under the policy=blocked", "apply remove"},
		{"never ends", Enforced, enforcement{enforces: true, sticks: true}, Fail, "after the policy: expected a reply", "", "apply remove"},
		{"no positive control before", Enforced, enforcement{dead: true}, Broken, "positive control before the policy got no reply in time", "", ""},
		{"policy refused by the API server", Enforced, enforcement{refuses: errors.New("forbidden")}, Broken, "apply the policy: forbidden", "", "apply"},
		{"agent lost under the policy", Enforced, enforcement{mute: errors.New("dial: no such file")}, Broken, "under the policy: dial: no such file", "", "apply remove"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			r.on.play = policyOf(PolicyAllowLabel, w.cast)
			f := w.perform(context.Background(), Path{ID: PolicyAllowLabel, Expected: r.expected}, &r.on, quick)
			if f.Outcome != r.outcome || !strings.Contains(f.Reason, r.reason) {
				t.Errorf("%s: %s; want %s: %s", f.Outcome, f.Reason, r.outcome, r.reason)
			}
			if got := strings.Join(r.on.log, " "); got != r.log {
				t.Errorf("did %q, want %q", got, r.log)
			}
			if f.Outcome == Pass {
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
func stepped(t *testing.T, f finding) {
	t.Helper()
	for _, s := range Steps() {
		if !slices.ContainsFunc(f.Properties, func(p Property) bool { return p.Step == s && p.OK }) {
			t.Errorf("no property of step %s in %+v", s, f.Properties)
		}
	}
}

// TestPolicyMatrix: the matrix shows what the steps were, whatever a policy calls them.
func TestPolicyMatrix(t *testing.T) {
	plan := planOf(t, "quickstart")
	able := enforcing()
	able.L7Policy, able.L7Reason = true, ""
	w := worldOf(plan, able, healthy(plan))
	quick := tempo{Control: 40 * time.Millisecond, Effect: 200 * time.Millisecond, Pause: 2 * time.Millisecond, Probe: time.Millisecond}
	var rows []*row
	for _, p := range Paths(plan, able) {
		x := &row{path: p}
		switch {
		case p.ID == PolicyL7:
			x.finding = w.performL7(t.Context(), ownL7(ciliums(t)), &proxy{subject: L7Rule(plan).Value}, quick)
		case p.ID == PolicyAllowPort:
			x.finding = w.perform(t.Context(), p, &enforcement{play: policyOf(p.ID, w.cast)}, quick) // fails
		case p.ID == PolicyAllowLabel:
			x.finding = w.perform(t.Context(), p, &enforcement{play: policyOf(p.ID, w.cast), dead: true}, quick) // broken
		case p.Expected == Enforced:
			x.finding = w.perform(t.Context(), p, &enforcement{play: policyOf(p.ID, w.cast), enforces: true}, quick) // in default-deny it denies the allowed path too
		default:
			continue
		}
		rows = append(rows, x)
	}
	for _, x := range rows { // how long it took differs from run to run
		for i, q := range x.finding.Properties {
			if strings.HasPrefix(q.Name, "seconds ") {
				x.finding.Properties[i].Observed = "0.1"
			}
		}
	}
	r := w.report(rows, "v1.19.6")
	var matrix, asJSON bytes.Buffer
	if err := errors.Join(r.WriteMatrix(&matrix, false), r.WriteJSON(&asJSON)); err != nil {
		t.Fatal(err)
	}
	golden(t, "report-policies-matrix.txt", matrix.String())
	golden(t, "report-policies.json", asJSON.String()) // verify/page draws it
}

// TestPolicyInterrupted: a policy does not outlive a verification that is cut short.
func TestPolicyInterrupted(t *testing.T) {
	plan := planOf(t, "quickstart")
	w := worldOf(plan, enforcing(), healthy(plan))
	ctx, cancel := context.WithCancel(context.Background())
	on := &interrupting{enforcement: enforcement{play: policyOf(PolicyDefaultDeny, w.cast)}, cancel: cancel}
	w.perform(ctx, Path{ID: PolicyDefaultDeny, Expected: Enforced}, on, usualTempo(time.Second, 1))
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
