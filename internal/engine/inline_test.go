package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// A lab that is not in a file is resolved as one that is, and has no lock.
func TestInline(t *testing.T) {
	b := newBench(t)
	const header = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: a}\n"
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, []byte(header), 0o644); err != nil {
		t.Fatal(err)
	}
	want, _, err := b.Resolve(file)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := b.Inline([]byte(header))
	if err != nil || !topology.Compare(want.Plan, got.Plan).None() || len(got.Components) != len(want.Components) {
		t.Errorf("%v (%v), want %v", got, err, want)
	}
	_, _, err = b.Inline([]byte(header + "provider: vmware\n"))
	var problems labs.Problems
	if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Field != "provider" || problems[0].File != "" {
		t.Errorf("another provider: %v", err)
	}
	if _, notes, err := b.Inline([]byte(header + "hosts: [{name: lb, role: haproxy}]\nnodes: [{name: cp, role: control-plane, count: 3}]\n")); err == nil && len(notes) == 0 {
		t.Error("a deprecated spelling is not noted")
	}
}

// Up of a lab that has to be new asks no provider about one that exists.
func TestUpNew(t *testing.T) {
	b := newBench(t)
	lab := b.lab(t, "a", "kind", providers.PhaseStopped)
	state, err := b.State(lab)
	if err != nil {
		t.Fatal(err)
	}
	set, err := b.Catalog.Resolve(state.Plan)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Up(t.Context(), set, UpOptions{File: "/labs/b.yaml", New: true}, quiet{})
	var exists *ExistsError
	if !errors.As(err, &exists) || exists.File != "/labs/a.yaml" {
		t.Errorf("%v", err)
	}
	failsWith(t, err, "lab a already exists, made from /labs/a.yaml", "`netlab down a`")
	b.expect(t, "an up that is refused")
}
