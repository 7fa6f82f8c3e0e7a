package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// checkSchema compares the report with the names that other tools read.
func checkSchema(t *testing.T, text string) {
	t.Helper()
	var report map[string]any
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	keys := func(where string, of any, must, may string) {
		object, ok := of.(map[string]any)
		if !ok {
			t.Errorf("%s is %v", where, of)
		}
		for _, k := range strings.Fields(must) {
			if _, there := object[k]; !there {
				t.Errorf("%s has no %s", where, k)
			}
		}
		for k := range object {
			if !slices.Contains(strings.Fields(must+" "+may), k) {
				t.Errorf("%s has an unknown %s", where, k)
			}
		}
	}
	keys("the report", report, "schemaVersion lab provider kubernetes cni paths summary software", "notices")
	keys("cni", report["cni"], "name version", "")
	keys("summary", report["summary"], "pass fail skip broken", "")
	paths, _ := report["paths"].([]any)
	for i, p := range paths {
		at := fmt.Sprintf("paths[%d]", i)
		keys(at, p, "id from to protocol expected outcome observed command durationMillis", "reason properties tries aliases")
		path, _ := p.(map[string]any)
		keys(at+".from", path["from"], "name", "kind node ip")
		keys(at+".to", path["to"], "name", "kind node ip")
		keys(at+".observed", path["observed"], "", "sourceIP backend node rttMicros")
		properties, _ := path["properties"].([]any)
		for k, p := range properties {
			property, _ := p.(map[string]any)
			keys(fmt.Sprintf("%s.properties[%d]", at, k), p, "name expected observed ok", "key step measurement")
			if m, measured := property["measurement"]; measured {
				keys(fmt.Sprintf("%s.properties[%d].measurement", at, k), m, "key value unit", "")
			}
		}
		if e, _ := path["expected"].(string); !slices.Contains([]string{"reachable", "unreachable", "enforced", "not-enforced"}, e) {
			t.Errorf("%s.expected is %q", at, e)
		}
		if o, _ := path["outcome"].(string); !slices.Contains([]string{"pass", "fail", "skip", "broken"}, o) {
			t.Errorf("%s.outcome is %q", at, o)
		}
	}
}

// ofSomeLabs reports whether a path is skipped on CNIs that have no such policy, or without routers that
// speak BGP, load balancers by hand or VIPs that hosts share.
func ofSomeLabs(id string) bool {
	return slices.Contains([]string{checks.PolicyL7, checks.PolicyFQDN, checks.BGPSession, checks.RouterToVIP, checks.OutsideToLBByHand, checks.VRRPVIP}, id)
}

// checkIDs: every kind of path is there, and only what this lab cannot do is skipped.
func checkIDs(t *testing.T, r report.Report) {
	t.Helper()
	want := checks.IDs()
	got := map[string]int{}
	for _, p := range r.Paths {
		got[p.ID]++
		if p.Outcome == report.Skip && !ofSomeLabs(p.ID) {
			t.Errorf("skipped: %s", describe(p))
		}
	}
	slices.Sort(want)
	if is := slices.Sorted(maps.Keys(got)); !slices.Equal(is, want) {
		t.Errorf("paths are %v, want %v", is, want)
	}
	// Three Nodes: each reaches the two others.
	if got["pod-to-pod-cross-node"] != 6 {
		t.Errorf("%d paths between Pods of different Nodes, want 6", got["pod-to-pod-cross-node"])
	}
}

func checkJUnit(t *testing.T, file string, r report.Report) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Suite []struct {
			Tests    int   `xml:"tests,attr"`
			Failures int   `xml:"failures,attr"`
			Cases    []any `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &suites); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	if n := len(r.Paths); len(suites.Suite) != 1 || suites.Suite[0].Tests != n || bytes.Count(data, []byte("<testcase ")) != n || suites.Suite[0].Failures != 0 {
		t.Errorf("JUnit has %+v, the report %d paths", suites.Suite, n)
	}
}

// checkPage: the page has each path, with the hops that its packets took.
func checkPage(t *testing.T, file string, r report.Report) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if n := strings.Count(text, `<li class="path `); n != len(r.Paths) {
		t.Errorf("the page has %d paths, the report %d", n, len(r.Paths))
	}
	if want := fmt.Sprintf("All %d paths as expected", r.Summary.Pass); !strings.Contains(text, want) {
		t.Errorf("the page does not say %q", want)
	}
	for _, want := range []string{"in VXLAN", "SNAT ", "DNAT ", "ARP who has", "by metallb", "metadata: {name: ", "v1.37"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page says nothing of %q", want)
		}
	}
	uncaptured := 0 // policies, and what does not apply to the lab
	for _, p := range r.Paths {
		if p.Expected == report.Enforced || p.Expected == report.NotEnforced || p.Outcome == report.Skip {
			uncaptured++
		}
	}
	if got, want := strings.Count(text, `<ol class="hops"`), len(r.Paths)-uncaptured; got < want {
		t.Errorf("the page has hops of %d paths, want %d", got, want)
	}
}
