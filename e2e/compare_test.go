package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"netlab.dev/netlab/compare"
	"netlab.dev/netlab/providers/providertest"
)

// nameOfCompared is the name of the labs that compare makes.
const nameOfCompared = "nlt-compare"

// TestCompare: two CNIs, each twice, in turn; the comparison is killed in its second lab and continued
// by the same command. Its results are a gate that is green for themselves, and red where Flannel takes
// the place of Calico: policies are not enforced any more. It makes five labs: `make test-all` runs this,
// `make test` does not.
func TestCompare(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	b := l.lab(t, nameOfCompared, "apiVersion: netlab/v1alpha1\nkind: Lab\nnodes: [{name: cp, role: control-plane}, {name: w, role: worker}]\nloadBalancer: {name: none}\ningress: {name: none}\n")
	saved := filepath.Join(l.dir, "results.json")
	args := []string{"compare", b.file, "--vary", "cni=flannel,calico", "--repeat", "2", "--save", saved}
	read := func() compare.Results {
		t.Helper()
		text, err := os.ReadFile(saved)
		if err != nil {
			return compare.Results{}
		}
		r, err := compare.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	cmd := l.command(args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	second := func() bool {
		r := read()
		_, err := os.Stat(filepath.Join(l.state, b.name, "state.json"))
		return len(r.Runs) == 1 && r.Underway != nil && err == nil
	}
	for deadline := time.Now().Add(10 * time.Minute); !second(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no second lab within ten minutes")
		}
	}
	time.Sleep(5 * time.Second) // its machines run
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	first := read().Runs[0]

	_, progress := l.output(t, 0, args...)
	if want := "the run of lab " + b.name + " was interrupted: it is removed and made again"; !strings.Contains(progress, want) {
		t.Errorf("no %q in\n%s", want, progress)
	}
	if !strings.Contains(progress, "lab 2 of 4: "+b.name+" cni=calico, ") || !strings.Contains(progress, " left\n") {
		t.Errorf("no time left in\n%s", progress)
	}
	r := read()
	if len(r.Runs) != 4 || len(r.Left()) != 0 || r.Underway != nil || !r.Runs[0].Began.Equal(first.Began) {
		t.Fatalf("%d runs, underway %v, first at %v, was %v", len(r.Runs), r.Underway, r.Runs[0].Began, first.Began)
	}
	l.gate(t, saved, r)
	if out := l.run(t, 0, "list"); strings.Contains(out, b.name) {
		t.Errorf("a lab is left: %s", out)
	}
}

// gate judges results by themselves, and one of their variants by the other.
func (l *labs) gate(t *testing.T, saved string, r compare.Results) {
	t.Helper()
	table := l.run(t, 0, "compare", saved)
	for _, want := range []string{"encapsulation seen", "VXLAN", "policy to effect", "memory per Node", "memory of kube-flannel-ds", "CPU of calico-node", "no difference in so many rows is significant: --repeat"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	l.run(t, 0, "compare", saved, "--baseline", saved, "--fail-on", "paths,seen")
	var files []string
	for n, v := range r.Variants {
		one := r
		one.Variants, one.Runs = []compare.Variant{v}, nil
		for _, run := range r.Runs {
			if run.Variant == n {
				run.Variant = 0
				one.Runs = append(one.Runs, run)
			}
		}
		text, err := one.Text()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(l.dir, v.CNI.Name+".json"))
		if err := os.WriteFile(files[n], text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := l.run(t, 1, "compare", files[0], "--baseline", files[1], "--fail-on", "paths")
	if !strings.Contains(out, "policy-default-deny: ✓ 1 → open, worse") {
		t.Errorf("Flannel in place of Calico:\n%s", out)
	}
	if _, stderr := l.output(t, 2, "compare", files[1], "--baseline", files[0], "--fail-on", "time<-10%"); !strings.Contains(stderr, "is better when lower") {
		t.Errorf("a condition the wrong way round: %s", stderr)
	}
	if _, stderr := l.output(t, 2, "compare", files[1], "--baseline", files[0], "--fail-on", "time>+10%"); !strings.Contains(stderr, "cannot fail: no difference is significant with 2 runs against 2") {
		t.Errorf("too few runs: %s", stderr)
	}
}
