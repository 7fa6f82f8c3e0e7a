package run

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/report/page"
	"netlab.dev/netlab/verify/workload"
)

// reported is the whole report of a quickstart lab on a network, with a CNI that does not
// enforce policies.
func reported(t *testing.T, s observe.State, upset func(string, agent.Probe, *agent.Result) *agent.Result) report.Report {
	t.Helper()
	plan := plantest.Plan(t, "quickstart")
	w, rows := reach(t, plan, plantest.Flannel(), s, upset)
	for _, p := range checks.Rows(plan, plantest.Flannel()) {
		if p.Policy() == nil {
			continue
		}
		x := &attempt{Judged: checks.Judged{Row: p, Finding: checks.Finding{Outcome: report.Skip, Reason: p.Skip}}}
		if p.Skip == "" {
			quick := timing{Control: time.Millisecond, Effect: time.Millisecond, Watch: time.Millisecond, Pause: time.Millisecond, Probe: time.Millisecond}
			play := scenarioOf(p.ID, w)
			x.Finding = policyRun{w, &enforcement{w: w, play: play}, nil, quick}.play(context.Background(), play, nil, p.Expected)
			x.command, x.tries = policyCommand(w, play.Policy, play.Denied[0]), 1
		}
		rows = append(rows, x)
	}
	return reportOf(w, rows, checks.Extent{}, "v0.28.4")
}

// The report of a large lab says that cross-Node paths took a sample, in each of its forms.
func TestReportOfASample(t *testing.T) {
	plan := plantest.Of(t, "networks: [{name: lan, cidr: 10.0.0.0/16}]\nnodes: [{name: cp, role: control-plane}, {name: w, role: worker, count: 16}]\n")
	w := observetest.Snapshot(plan, plantest.Flannel(), observetest.Healthy(plan))
	r := reportOf(w, nil, checks.Extent{}, "")
	var text, asJSON, html bytes.Buffer
	for _, err := range []error{r.WriteText(&text, checks.Layout(), false), r.WriteJSON(&asJSON), page.Write(&html, page.Subject{Report: r, Layout: checks.Layout(), Plan: plan})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const said = "between 17 of the 272 pairs of Nodes"
	if folded := strings.Join(strings.Fields(text.String()), " "); !strings.Contains(folded, said) || !strings.Contains(folded, "netlab verify test --all-pairs") {
		t.Errorf("the text is\n%s", &text)
	}
	if !strings.Contains(html.String(), said) {
		t.Error("the page does not say it")
	}
	var read report.Report
	if err := json.Unmarshal(asJSON.Bytes(), &read); err != nil || read.Sample == nil || *read.Sample != (report.Sample{Pairs: 17, Of: 272}) {
		t.Errorf("JSON: %v, %+v", err, read.Sample)
	}
	if r := reportOf(w, nil, checks.Extent{AllPairs: true}, ""); r.Sample != nil || len(r.Notices) > 0 {
		t.Errorf("with all pairs: %+v, %q", r.Sample, r.Notices)
	}
}

func TestReportGolden(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	var w observe.Snapshot
	faulty := observetest.Healthy(plan)
	faulty.Service(workload.Namespace, workload.ServiceLB).Status.LoadBalancer.Ingress = nil
	w = observetest.Snapshot(plan, plantest.Flannel(), faulty)
	lossy := drop(&w, "w1", "w2", "underlay")
	without := observetest.Healthy(plan)
	without.Nodes = slices.DeleteFunc(without.Nodes, func(n *corev1.Node) bool { return n.Name == "w2" })
	reports := map[string]report.Report{
		"report-healthy": reported(t, observetest.Healthy(plan), nil),
		"report-faulty": reported(t, faulty, func(from string, p agent.Probe, r *agent.Result) *agent.Result {
			if p.Kind == agent.Bind {
				b := observetest.Silence(agent.Broken, "too many open files")
				return &b
			}
			return lossy(from, p, r)
		}),
		"report-unregistered": reported(t, without, withoutMachine(plan, "w2")),
	}
	for name, r := range reports {
		var plain, coloured, matrix, asJSON, asJUnit bytes.Buffer
		for _, err := range []error{r.WriteMatrix(&matrix, checks.Layout(), false), r.WriteText(&plain, checks.Layout(), false), r.WriteText(&coloured, checks.Layout(), true), r.WriteJSON(&asJSON), r.WriteJUnit(&asJUnit)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		plantest.Golden(t, name+".txt", plain.String())
		plantest.Golden(t, name+"-matrix.txt", matrix.String())
		if name == "report-faulty" {
			plantest.Golden(t, name+".json", asJSON.String())
			plantest.Golden(t, name+".xml", asJUnit.String())
		}
		for _, line := range strings.Split(plain.String(), "\n") {
			if utf8.RuneCountInString(line) > report.Width && !strings.Contains(line, "rerun:") {
				t.Errorf("%s: %d columns: %s", name, utf8.RuneCountInString(line), line)
			}
		}
		if strings.Contains(plain.String(), "\x1b") || !strings.Contains(coloured.String(), "\x1b[32m✓\x1b[0m") {
			t.Errorf("%s: colour is not as requested", name)
		}
		var suites report.JunitSuites
		if err := xml.Unmarshal(asJUnit.Bytes(), &suites); err != nil || suites.Suite.Tests != len(r.Paths) {
			t.Errorf("%s: JUnit: %v, %d of %d cases", name, err, suites.Suite.Tests, len(r.Paths))
		}
		if got := r.Summary.Pass + r.Summary.Fail + r.Summary.Skip + r.Summary.Broken; got != len(r.Paths) {
			t.Errorf("%s: the summary counts %d of %d", name, got, len(r.Paths))
		}
	}
	if reports["report-healthy"].ExitCode() != 0 || reports["report-faulty"].ExitCode() != 1 || reports["report-unregistered"].ExitCode() != 1 {
		t.Error("exit codes")
	}
}
