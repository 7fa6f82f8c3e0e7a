package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

func testApp(t *testing.T) (*app, *bytes.Buffer) {
	t.Helper()
	t.Setenv("NETLAB_STATE_DIR", t.TempDir())
	t.Setenv("NETLAB_CACHE_DIR", t.TempDir())
	var out bytes.Buffer
	a, err := newApp(strings.NewReader(""), &out, &out)
	if err != nil {
		t.Fatal(err)
	}
	return a, &out
}

// TestReportForms: the page has its evidence, and the printed report only what was requested.
func TestReportForms(t *testing.T) {
	a, out := testApp(t)
	file := filepath.Join("..", "scenarios", "quickstart.yaml")
	set, err := a.resolve(file)
	if err != nil {
		t.Fatal(err)
	}
	end := func(name string) report.End { return report.End{Kind: report.AtPod, Name: "echo-" + name, Node: name} }
	path := func(outcome, seen string) report.Result {
		return report.Result{ID: checks.PodToPodCrossNode, From: end("w1"), To: end("w2"), Protocol: "http", Expected: report.Reachable, Outcome: outcome,
			Evidence: &report.Evidence{Hops: []report.Hop{{Machine: "w1", Interface: seen, Direction: "out", Leg: "request", Packet: "TCP SYN"}}}}
	}
	r := report.Report{Lab: set.Plan.Lab.String(), Paths: []report.Result{path(report.Pass, "veth-good"), path(report.Fail, "veth-bad")}, Summary: report.Summary{Pass: 1, Fail: 1}}
	for _, evidence := range []bool{false, true} {
		out.Reset()
		c := &cobra.Command{Use: "verify"}
		flags := newReportFlags(c)
		html := filepath.Join(t.TempDir(), "report.html")
		if flags.evidence() || flags.toFiles() {
			t.Error("a page is wanted before one was asked for")
		}
		if err := c.Flags().Set("html", html); err != nil {
			t.Fatal(err)
		}
		if !flags.evidence() || !flags.toFiles() {
			t.Error("a page does not want evidence")
		}
		if err := a.report(a.subject(r, set, file), flags, evidence); err != (exitStatus{exitPath}) {
			t.Errorf("report: %v", err)
		}
		page, err := os.ReadFile(html)
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string][2]bool{"veth-good": {evidence, true}, "veth-bad": {true, true}} {
			if got := [2]bool{strings.Contains(out.String(), text), strings.Contains(string(page), text)}; got != want {
				t.Errorf("%s: printed and in the page: %v, want %v", text, got, want)
			}
		}
	}
	if r.Paths[0].Evidence == nil {
		t.Error("printing took the evidence away")
	}
}

// TestSubject: the page contains the lab file, with a note where it may differ from what runs.
func TestSubject(t *testing.T) {
	a, _ := testApp(t)
	text, err := os.ReadFile(filepath.Join("..", "scenarios", "quickstart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "lab.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(string(text))
	set, err := a.resolve(file)
	if err != nil {
		t.Fatal(err)
	}
	if s := a.subject(report.Report{}, set, file); s.Doubt != "" || s.Text != string(text) || len(s.Parts) < 10 {
		t.Errorf("%q, %d bytes, %v", s.Doubt, len(s.Text), s.Parts)
	}
	for _, changed := range []string{strings.Replace(string(text), "count: 2", "count: 3", 1), "not: a lab"} {
		write(changed)
		if s := a.subject(report.Report{}, set, file); !strings.Contains(s.Doubt, "lab file changed") || s.Text != changed {
			t.Errorf("of %.20q the page says %q", changed, s.Doubt)
		}
	}
	if s := a.subject(report.Report{}, set, file+".none"); !strings.Contains(s.Doubt, "could not be read") || s.Text != "" {
		t.Errorf("of no file the page says %q", s.Doubt)
	}
}
