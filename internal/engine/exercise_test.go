package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/exercises"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/report"
)

// recorder is a kubectl that writes down what it is asked, and knows one Service.
const recorder = `#!/bin/sh
echo "$@" >>$0.asked
case "$*" in
"get service web"*) echo '{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop","resourceVersion":"7","uid":"u"},"spec":{"clusterIP":"10.96.0.7"},"status":{}}' ;;
"get --ignore-not-found -o json"*) echo '{"apiVersion":"v1","kind":"List","items":[]}' ;;
"get --ignore-not-found -o name"*) echo service/web ;;
esac
`

// Faults are recorded before they are made, with what they change, and are taken back in reverse: an
// object gets back what it was, one that was added goes.
func TestExerciseIsTakenBack(t *testing.T) {
	b := newBench(t)
	lab := labs.MustName("demo")
	kubectl := filepath.Join(t.TempDir(), "kubectl")
	if err := os.WriteFile(kubectl, []byte(recorder), 0o755); err != nil {
		t.Fatal(err)
	}
	cp := topology.Machine{Name: "cp", Kind: topology.KindNode, Role: topology.RoleControlPlane}
	if err := b.Root.Write(providers.State{Plan: topology.Plan{Lab: lab, Provider: "netns", Machines: []topology.Machine{cp}}, Phase: providers.PhaseUp,
		Artifacts: components.Artifacts{Programs: map[string]string{"kubectl": kubectl}}}); err != nil {
		t.Fatal(err)
	}
	policy := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: shop}\nspec: {podSelector: {}}\n"
	ex := exercises.Exercise{Name: "one", File: "/one.yaml", Of: lab, Faults: []exercises.Step{
		{Patch: &exercises.Patch{Object: "service/shop/web", Type: exercises.PatchMerge, With: "spec: {selector: {app: wep}}"}},
		{Apply: policy},
	}}
	w := &worker{e: b.Engine, ex: ex, session: exercises.Session{Exercise: "one", File: ex.File, Phase: exercises.PhasePreparing}}
	if err := w.all(t.Context(), ex.Faults); err != nil {
		t.Fatal(err)
	}
	s, err := exercises.ReadSession(b.Root.Dir(lab))
	if err != nil || len(s.Done) != 2 || len(s.Done[0].Before) != 1 || len(s.Done[1].Before) != 0 {
		t.Fatalf("recorded %+v (%v)", s, err)
	}
	if was := string(s.Done[0].Before[0]); !strings.Contains(was, "10.96.0.7") || strings.Contains(was, "resourceVersion") || strings.Contains(was, "status") {
		t.Errorf("the Service was kept as %s", was)
	}
	if err := w.clear(t.Context(), quiet{}); err != nil {
		t.Fatal(err)
	}
	asked, err := os.ReadFile(kubectl + ".asked")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"get service web -n shop -o json",
		`patch service web -n shop --type=merge -p {"spec":{"selector":{"app":"wep"}}}`,
		"get --ignore-not-found -o json -f -",
		"apply --server-side --force-conflicts --field-manager=netlab-exercise -f -",
		"delete --ignore-not-found --timeout=1m30s -f -",
		"get --ignore-not-found -o name -f -",
		"replace -f -",
	}
	if got := strings.Split(strings.TrimSpace(string(asked)), "\n"); !slices.Equal(got, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := b.CheckExercise(t.Context(), ex, quiet{}); err == nil || !strings.Contains(err.Error(), "is not started") {
		t.Errorf("a check of an exercise that was taken back: %v", err)
	}
}

// A check says what is seen and not why.
func TestWrongGivesNoAnswerAway(t *testing.T) {
	ends := func(r report.Result) report.Result {
		r.From, r.To, r.Protocol = report.End{Name: "shop/frontend"}, report.End{Name: "shop/web:80"}, "http"
		return r
	}
	got := wrongOf([]report.Result{
		ends(report.Result{ID: "mine", Expected: report.Reachable, Outcome: report.Pass}),
		ends(report.Result{ID: "mine", Expected: report.Reachable, Outcome: report.Fail, Reason: "no reply in time: left w1 eth0, dropped by policy web"}),
		ends(report.Result{ID: "mine", Expected: report.Reachable, Outcome: report.Fail, Reason: "no reply in time; kube-proxy on w1 is not ready"}),
		ends(report.Result{ID: "mine", Expected: report.Reachable, Outcome: report.Fail, Reason: "refused (dial tcp 10.96.0.7:80: connect: connection refused): Service shop/web has no endpoint"}),
		ends(report.Result{ID: "mine", Expected: report.Reachable, Outcome: report.Fail, Reason: "Service shop/web has no ready endpoints"}),
		ends(report.Result{ID: "mine", Expected: report.Reachable, Outcome: report.Fail, Reason: "HTTP status 503: no endpoint"}),
		ends(report.Result{ID: "mine", Expected: report.Unreachable, Outcome: report.Fail, Reason: "expected no answer, got HTTP status 200",
			Properties: []report.Property{{Name: "answer", Observed: "HTTP status 200"}}}),
		ends(report.Result{ID: "outside-to-loadbalancer", Expected: report.Reachable, Outcome: report.Fail, Reason: "no speaker runs"}),
		ends(report.Result{ID: "pod-to-pod-cross-node", Expected: report.Reachable, Outcome: report.Fail, Reason: "x", Properties: []report.Property{{Name: "largest payload", Observed: "1322 bytes"}}}),
	})
	var lines []string
	for _, w := range got {
		lines = append(lines, w.Expected+", "+w.Observed)
	}
	want := []string{"reachable, no reply in time", "reachable, refused", "reachable, no answer", "reachable, HTTP status 503", "denied, HTTP status 200", "reachable, no answer", "reachable, largest payload 1322 bytes"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q\nwant %q", lines, want)
	}
}
