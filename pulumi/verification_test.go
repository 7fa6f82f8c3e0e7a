package pulumi

import (
	"fmt"
	"strings"
	"testing"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"netlab.dev/netlab/verify/report"
)

// Before a lab is verified its results are not known, also not those of an earlier verification.
func TestVerificationPreview(t *testing.T) {
	s := serve(t)
	out, err := s.preview(t, verificationType, "lab: '?'\ntriggers: [1]")
	if err != nil || !out[summaryProperty].IsComputed() || !out[resultsProperty].IsComputed() || !out["lab"].IsComputed() {
		t.Errorf("create: %v (%v)", out, err)
	}
	was := properties(t, "lab: small\nsummary: {pass: 3}\nresults: []")
	answer, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{Id: "small", Urn: urn(verificationType), Preview: true, Olds: marshal(t, was), News: marshal(t, properties(t, "lab: small\ntriggers: [2]"))})
	if err != nil {
		t.Fatal(err)
	}
	if out := unmarshal(t, answer.Properties); !out[summaryProperty].IsComputed() || !out[resultsProperty].IsComputed() {
		t.Errorf("update: %v", out)
	}
}

// A verification that could not be made records nothing.
func TestVerificationOfNoLab(t *testing.T) {
	s := serve(t)
	_, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn(verificationType), Properties: marshal(t, properties(t, "lab: small"))})
	if err == nil || !strings.Contains(err.Error(), "lab small not found") || initFailed(err) != nil {
		t.Errorf("%v, recorded %v", err, initFailed(err))
	}
}

// An error names the paths that are not as expected, and not more than can be read.
func TestUnexpected(t *testing.T) {
	r := report.Report{Lab: "small", Summary: report.Summary{Pass: 7, Fail: 21, Broken: 1, Skip: 2}}
	add := func(id, outcome string) {
		r.Paths = append(r.Paths, report.Result{ID: id, From: report.End{Name: "client"}, To: report.End{Name: "web"}, Protocol: "TCP", Outcome: outcome, Reason: "timed out"})
	}
	add("pod-to-pod", report.Pass)
	add("dns", report.Broken)
	add("bfd", report.Skip)
	for i := range 21 {
		add(fmt.Sprintf("path-%d", i), report.Fail)
	}
	got := unexpected(r)
	if len(got) != shownFailures+2 || got[0] != "lab small: 7 paths pass, 21 fail, 1 broken, 2 skipped" || got[1] != "dns broken, client → web over TCP: timed out" ||
		got[2] != "path-0 fail, client → web over TCP: timed out" || got[21] != "and 2 more: `netlab verify small` shows all" {
		t.Errorf("%d lines:\n%s", len(got), strings.Join(got, "\n"))
	}
	r.Paths = append(r.Paths, report.Result{ID: "throughput-clusterip", Throughput: &report.Figure{Median: 2e9}, Latency: &report.Latency{P50: report.Figure{Median: 40}}})
	if all := paths(r.Paths); len(all) != len(r.Paths) || all[1] != (path{ID: "dns", From: "client", To: "web", Protocol: "TCP", Outcome: "broken", Reason: "timed out"}) {
		t.Errorf("results %v", all)
	} else if measured := all[len(all)-1]; measured.Throughput != 2e9 || measured.Latency != 40 {
		t.Errorf("measured %v", measured)
	}
}
