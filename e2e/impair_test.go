package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// impaired: a slow link is shown, is what is measured, and fails no path; `up` undoes it.
func (b *lab) impaired(t *testing.T) {
	b.up(t)
	const line = "the link of w1 eth0 is impaired: rate 20Mbit"
	if out := b.run(t, 0, "link", "impair", b.name, "w1:eth0", "rate=20Mbit"); out != "link of w1 eth0 is impaired: rate 20Mbit\n" {
		t.Errorf("link impair: %q", out)
	}
	if out := b.run(t, 1, "status", b.name); !strings.Contains(out, "yes, eth0 impaired (rate 20Mbit)") || !strings.Contains(out, "stop impairing the link of w1 eth0") {
		t.Errorf("status:\n%s", out)
	}
	var r report.Report
	if err := json.Unmarshal([]byte(b.run(t, 0, "verify", b.name, "-o", "json", "--throughput="+checks.RouteNodeToNode)), &r); err != nil {
		t.Fatal(err)
	}
	measured := 0
	for _, p := range r.Paths {
		if p.Measures != report.Throughput || p.Protocol != "tcp" {
			continue
		}
		measured++
		if p.Throughput == nil || p.Throughput.Median > 20e6 || p.Throughput.Median < 10e6 {
			t.Errorf("over a link of 20 Mbit/s: %+v", p.Throughput)
		}
	}
	if measured != 2 || !slices.Contains(r.Notices, line) {
		t.Errorf("%d measurements; notices %q", measured, r.Notices)
	}
	b.run(t, 0, "up", b.file)
	if out := b.run(t, 0, "status", b.name); strings.Contains(out, "impaired") {
		t.Errorf("status after up:\n%s", out)
	}
}
