package providers

import (
	"os"
	"path/filepath"
	"testing"

	"netlab.dev/netlab/labs"
)

// A lab belongs to the state directory that has it, by whatever path; to none once that is gone.
func TestOwners(t *testing.T) {
	dir := t.TempDir()
	o, lab := Owners(filepath.Join(dir, "run")), labs.MustName("a")
	own, other := Root(filepath.Join(dir, "own")), Root(filepath.Join(dir, "other"))
	link := filepath.Join(dir, "link")
	if err := os.Symlink(string(other), link); err != nil {
		t.Fatal(err)
	}
	expect := func(when string, of Root, want Root) {
		t.Helper()
		if got, known := o.Other(lab, of); got != want || known != (want != "") {
			t.Errorf("%s: seen from %s the lab belongs to %q, want %q", when, of, got, want)
		}
	}
	expect("before", own, "")
	if err := other.Claim(lab); err != nil {
		t.Fatal(err)
	}
	if err := o.Set(lab, other); err != nil {
		t.Fatal(err)
	}
	expect("claimed", own, other)
	expect("claimed", other, "")
	expect("claimed", Root(link), "")
	if err := other.RemoveDir(lab); err != nil {
		t.Fatal(err)
	}
	expect("its state is lost", own, "")
	for range 2 {
		if err := o.Remove(lab); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(string(o)); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v", err)
	}
	if err := Owners("").Set(lab, own); err != nil {
		t.Error(err)
	}
	if got, known := Owners("").Other(lab, own); known {
		t.Errorf("without a directory it belongs to %s", got)
	}
}
