package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
	"netlab.dev/netlab/verify/report"
)

// noop bounds an `up` that has nothing to do. It takes a fifth of a second on a machine
// with nothing else to do.
const noop = 5 * time.Second

// quickstart: from nothing to every path verified, the report in all its forms, and then
// nothing to do.
func (b *lab) quickstart(t *testing.T) {
	junit, html := filepath.Join(b.dir, "junit.xml"), filepath.Join(b.dir, "report.html")
	out, progress := b.output(t, 0, "up", b.file, "-o", "json", "--junit", junit, "--html", html)
	t.Logf("up:\n%s", progress)
	checkSchema(t, out)
	var r report.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	checkPasses(t, r)
	checkIDs(t, r)
	checkJUnit(t, junit, r)
	checkPage(t, html, r)

	b.untouched(t)

	began := time.Now()
	if out := b.run(t, 0, "up", b.file); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second up says %q", out)
	}
	if took := time.Since(began); took > noop {
		t.Errorf("a second up takes %s", took)
	}
}

// untouched: while the lab runs, the machine-wide settings are as before. Where others use
// the machine too, they may have changed them.
func (b *lab) untouched(t *testing.T) {
	t.Helper()
	now, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	say := t.Logf
	if providertest.Alone() {
		say = t.Errorf
	}
	for _, kind := range []string{"link", "address", "route", "routing rule", "sysctl", "nft rule", "iptables rule"} {
		for _, line := range residue.Diff(residue.Snapshot{kind: b.before[kind]}, residue.Snapshot{kind: now[kind]}) {
			say("of this machine %s", line)
		}
	}
}
