package checks

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

func TestPathsGolden(t *testing.T) {
	rows := []struct {
		scenario string
		support  components.Support
		golden   string
	}{
		{"quickstart", plantest.Flannel(), "paths-quickstart.txt"},
		{"quickstart", plantest.Enforcing(), "paths-enforcing.txt"},
		{"single-node", plantest.Flannel(), "paths-single-node.txt"},
		{"no-lb", plantest.Flannel(), "paths-no-lb.txt"},
		{"nodeport", plantest.Flannel(), "paths-nodeport.txt"},
		{"routed-client", plantest.Flannel(), "paths-routed-client.txt"},
		{"metallb-bgp", plantest.Flannel(), "paths-metallb-bgp.txt"},
		{"spine-leaf", plantest.Flannel(), "paths-spine-leaf.txt"},
		{"haproxy", plantest.Flannel(), "paths-haproxy.txt"},
		{"csp", plantest.Flannel(), "paths-csp.txt"},
	}
	for _, r := range rows {
		t.Run(r.golden, func(t *testing.T) {
			paths := Rows(plantest.Plan(t, r.scenario), r.support)
			var b strings.Builder
			seen := map[string]bool{}
			unique := map[string]bool{}
			for _, p := range paths {
				seen[p.ID] = true
				line := fmt.Sprintf("%-27s %-22s %-40s %-5s %s", p.ID, p.From.Name, p.To.Name+at(p), p.Protocol, p.Expected)
				if p.Skip != "" {
					line += "  SKIP " + p.Skip
				}
				if unique[line] {
					t.Errorf("twice: %s", line)
				}
				unique[line] = true
				b.WriteString(strings.TrimRight(line, " ") + "\n")
			}
			for _, id := range IDs() {
				if !seen[id] {
					t.Errorf("no path %s, not even as a skip", id)
				}
			}
			plantest.Golden(t, r.golden, b.String())
		})
	}
}

func at(p Row) string {
	if p.Through != "" {
		return " through " + p.Through
	}
	r := p.To
	if r.Node == "" || r.Node == r.Name {
		return ""
	}
	return " on " + r.Node
}

// TestTable: every entry is complete, and every id is unique.
func TestTable(t *testing.T) {
	named := map[string]bool{}
	for _, c := range All() {
		if c.ID == "" || c.Section == "" || c.Title == "" || c.Rows == nil || len(c.Asserts) == 0 {
			t.Errorf("%q is not complete: %+v", c.ID, c)
		}
		for _, id := range append([]string{c.ID}, c.Aliases...) {
			if named[id] {
				t.Errorf("two entries have the id %s", id)
			}
			named[id] = true
			if found, ok := Find(id); !ok || found.ID != c.ID {
				t.Errorf("%s is found as %q", id, found.ID)
			}
		}
		if blocked := slices.ContainsFunc(c.Asserts, func(a Assertion) bool { _, is := a.(Silent); return is }); blocked != canBeBlocked(t, c) {
			t.Errorf("%s asserts silence: %t; it has rows that must be blocked: %t", c.ID, blocked, !blocked)
		}
	}
	if c, ok := Find("pod-to-itself-via-service"); !ok || c.ID != PodHairpin {
		t.Errorf("the earlier id of %s finds %q", PodHairpin, c.ID)
	}
	if _, ok := Find("pod-to-moon"); ok {
		t.Error("an unknown id is found")
	}
}

func canBeBlocked(t *testing.T, c Check) bool {
	t.Helper()
	for _, support := range []components.Support{plantest.Flannel(), plantest.Enforcing()} {
		if slices.ContainsFunc(c.Rows(labOf(plantest.Plan(t, "quickstart"), support)), func(r Row) bool { return r.Expected == report.Unreachable }) {
			return true
		}
	}
	return false
}

// TestPathsDocument: docs/paths.md matches the table.
func TestPathsDocument(t *testing.T) {
	plantest.Golden(t, "../../../docs/paths.md", Markdown())
}

// TestPods: paths do not interfere with each other's Pods.
func TestPods(t *testing.T) {
	for _, scenario := range []string{"quickstart", "single-node", "small-network"} {
		plan := plantest.Plan(t, scenario)
		c := Pods(plan)
		if len(c.Echo) < 2 {
			t.Errorf("%s: %d echo Pods; two backends need two", scenario, len(c.Echo))
		}
		names := map[string]bool{}
		for _, p := range c.All() {
			if names[p.Name] {
				t.Errorf("%s: two Pods %s", scenario, p.Name)
			}
			names[p.Name] = true
			if len(workload.Socket(p.Namespace, p.Name)) > 107 {
				t.Errorf("socket path of %s is longer than a socket address", p.Name)
			}
		}
		for _, n := range plan.Nodes() {
			a, b := c.EchoOn(n.Name), c.SecondOn(n.Name)
			if a.Name == b.Name || a.Node != b.Node {
				t.Errorf("%s: Node %s has no second Pod: %s and %s", scenario, n.Name, a.Name, b.Name)
			}
		}
		for _, entry := range policies() {
			id, play := entry.ID, entry.Policy.Scenario(observe.Snapshot{Plan: plan, Pods: c})
			if play.Policy == nil {
				continue // an object of the CNI
			}
			selected := 0
			for _, p := range c.All() {
				match := p.Namespace == play.Policy.Namespace
				for k, v := range play.Policy.Spec.PodSelector.MatchLabels {
					match = match && p.Labels[k] == v
				}
				if match {
					selected++
					if p.Name != entry.Policy.Pod() {
						t.Errorf("%s selects %s, which other paths need", id, p.Name)
					}
				}
			}
			if selected != 1 {
				t.Errorf("%s selects %d Pods, want 1", id, selected)
			}
			for _, l := range play.Denied {
				if slices.Contains(play.Allowed, l) {
					t.Errorf("%s denies what it allows: %+v", id, l)
				}
			}
		}
	}
}
