package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"netlab.dev/netlab/verify/agent"
)

// reported is the whole report of a quickstart lab on a network, with policies played on
// an enforcement that has none.
func reported(t *testing.T, s state, upset func(string, agent.Probe, *agent.Result) *agent.Result) Report {
	t.Helper()
	plan := planOf(t, "quickstart")
	w, rows := reach(t, plan, flannel(), s, upset)
	for _, p := range Paths(plan, flannel()) {
		if !strings.HasPrefix(p.ID, "policy-") {
			continue
		}
		x := &row{path: p, finding: finding{Outcome: Skip, Reason: p.Skip}}
		if p.Skip == "" {
			quick := tempo{Control: time.Millisecond, Effect: time.Millisecond, Watch: time.Millisecond, Pause: time.Millisecond, Probe: time.Millisecond}
			play := policyOf(p.ID, w.cast)
			x.finding = w.perform(context.Background(), p, &enforcement{play: play}, quick)
			x.command, x.tries = w.policyCommand(play.Policy, play.Denied), 1
		}
		rows = append(rows, x)
	}
	return w.report(rows, "v0.28.4")
}

func TestReportGolden(t *testing.T) {
	plan := planOf(t, "quickstart")
	var w world
	faulty := healthy(plan)
	faulty.service(Namespace, ServiceLB).Status.LoadBalancer.Ingress = nil
	w = worldOf(plan, flannel(), faulty)
	lossy := drop(&w, "w1", "w2", "underlay")
	reports := map[string]Report{
		"report-healthy": reported(t, healthy(plan), nil),
		"report-faulty": reported(t, faulty, func(from string, p agent.Probe, r *agent.Result) *agent.Result {
			if p.Kind == agent.Bind {
				b := silence(agent.Broken, "too many open files")
				return &b
			}
			return lossy(from, p, r)
		}),
	}
	for name, r := range reports {
		var plain, coloured, asJSON, asJUnit bytes.Buffer
		for _, err := range []error{r.WriteText(&plain, false), r.WriteText(&coloured, true), r.WriteJSON(&asJSON), r.WriteJUnit(&asJUnit)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		golden(t, name+".txt", plain.String())
		if name == "report-faulty" {
			golden(t, name+".json", asJSON.String())
			golden(t, name+".xml", asJUnit.String())
		}
		for _, line := range strings.Split(plain.String(), "\n") {
			if utf8.RuneCountInString(line) > width && !strings.Contains(line, "rerun:") {
				t.Errorf("%s: %d columns: %s", name, utf8.RuneCountInString(line), line)
			}
		}
		if strings.Contains(plain.String(), "\x1b") || !strings.Contains(coloured.String(), "\x1b[32m✓\x1b[0m") {
			t.Errorf("%s: colour is not as asked for", name)
		}
		var suites junitSuites
		if err := xml.Unmarshal(asJUnit.Bytes(), &suites); err != nil || suites.Suite.Tests != len(r.Paths) {
			t.Errorf("%s: JUnit: %v, %d of %d cases", name, err, suites.Suite.Tests, len(r.Paths))
		}
		if got := r.Summary.Pass + r.Summary.Fail + r.Summary.Skip + r.Summary.Broken; got != len(r.Paths) {
			t.Errorf("%s: the summary counts %d of %d", name, got, len(r.Paths))
		}
	}
	if reports["report-healthy"].ExitCode() != 0 || reports["report-faulty"].ExitCode() != 1 {
		t.Error("exit codes")
	}
}

// TestJSONContract: other tools read these names; a change here breaks them.
func TestJSONContract(t *testing.T) {
	r := Report{Lab: "l", Provider: "netns", Kubernetes: "v1", CNI: CNI{"flannel", "v2"}, Summary: Summary{1, 2, 3, 4},
		Paths: []Result{{ID: "x", From: End{"pod", "a", "n", "1.1.1.1"}, To: End{"pod", "b", "n", "2.2.2.2"}, Protocol: "http", Expected: Reachable, Outcome: Fail,
			Reason: "r", Observed: Observed{"1.1.1.1", "b", "n", 5}, Command: "c", DurationMillis: 7}}}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"lab":"l","provider":"netns","kubernetes":"v1","cni":{"name":"flannel","version":"v2"},"paths":[{"id":"x",` +
		`"from":{"kind":"pod","name":"a","node":"n","ip":"1.1.1.1"},"to":{"kind":"pod","name":"b","node":"n","ip":"2.2.2.2"},"protocol":"http","expected":"reachable",` +
		`"outcome":"fail","reason":"r","observed":{"sourceIP":"1.1.1.1","backend":"b","node":"n","rttMicros":5},"command":"c","durationMillis":7}],` +
		`"summary":{"pass":1,"fail":2,"skip":3,"broken":4}}`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
}
