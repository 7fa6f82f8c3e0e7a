package cli

import (
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// Each outcome of a kind of path has its own cell text, and a lab that could not be created
// keeps its column.
func TestComparison(t *testing.T) {
	row := func(id, outcome, expected string) report.Result {
		return report.Result{ID: id, Outcome: outcome, Expected: expected}
	}
	enforced := row(checks.PolicyDefaultDeny, report.Pass, report.Enforced)
	enforced.Properties = []report.Property{{Measurement: &report.Measurement{Key: report.MeasuredEffect, Value: 0.3, Unit: report.UnitSeconds}}}
	all := []engine.Compared{
		{Lab: labs.MustName("one"), CNI: labs.CNI{Name: "flannel", Options: map[string]string{"backend": "vxlan"}}, Proxy: "nftables",
			UpSeconds: 20.44, VerifySeconds: 1.5, DownSeconds: 1, NodeBytes: 336_000_000,
			Report: &report.Report{CNI: report.CNI{Name: "flannel", Version: "v1"}, Paths: []report.Result{
				row(checks.NodeToPod, report.Pass, report.Reachable), row(checks.NodeToPod, report.Pass, report.Reachable),
				row(checks.PodToClusterIP, report.Fail, report.Reachable), row(checks.PodToClusterIP, report.Broken, report.Reachable),
				row(checks.PodToHeadless, report.Broken, report.Reachable),
				row(checks.PolicyDefaultDeny, report.Pass, report.NotEnforced),
				row(checks.PolicyL7, report.Skip, report.Enforced)}}},
		{Lab: labs.MustName("two"), CNI: labs.CNI{Name: "calico"}, Proxy: "iptables",
			Report: &report.Report{CNI: report.CNI{Name: "calico", Version: "v2"}, Paths: []report.Result{enforced}}},
		{Lab: labs.MustName("three"), CNI: labs.CNI{Name: "cilium"}, Proxy: "none", Error: "no kernel"},
	}
	var out strings.Builder
	if err := writeComparison(&out, all); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if len([]rune(strings.TrimRight(line, "\n"))) > 100 {
			t.Errorf("more than 100 columns: %q", line)
		}
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{
		"1 one flannel v1 backend vxlan kube-proxy nftables",
		"1 2 3",
		"node-to-pod ✓ 2 – –",
		"pod-to-clusterip ✗ 1 of 2 – –",
		"pod-to-headless ! 1 of 1 – –",
		"policy-default-deny open ✓ 1 –",
		"policy-l7 – – –",
		"up, verified, s 20.4 – –",
		"policy to effect, s – 0.30 –",
		"memory per Node, MB 336 – –",
		"✗ 3 three: no kernel",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}
