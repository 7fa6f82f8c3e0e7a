package providertest

import (
	"path/filepath"
	"runtime"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
)

// A lab of a killed test is removed from that test's state directory while that has it, and from
// our own after; a lab with a user's name is refused.
func TestRootOf(t *testing.T) {
	dir := t.TempDir()
	owners, own, other := providers.Owners(filepath.Join(dir, "run")), providers.Root(filepath.Join(dir, "own")), providers.Root(filepath.Join(dir, "other"))
	expect := func(want providers.Root) {
		t.Helper()
		if got := rootOf(t, owners, own, "nlt-x"); got != want {
			t.Errorf("the lab is removed from %s, want %s", got, want)
		}
	}
	expect(own)
	lab := labs.MustName("nlt-x")
	if err := other.Claim(lab); err != nil {
		t.Fatal(err)
	}
	if err := owners.Set(lab, other); err != nil {
		t.Fatal(err)
	}
	expect(other)
	if err := other.RemoveDir(lab); err != nil {
		t.Fatal(err)
	}
	expect(own)

	refusing := refused{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		rootOf(&refusing, owners, own, "quickstart")
	}()
	if <-done; !refusing.is {
		t.Error("a user's lab is removed")
	}
}

// refused is a test that ends where it would fail.
type refused struct {
	testing.TB
	is bool
}

func (r *refused) Fatalf(string, ...any) {
	r.is = true
	runtime.Goexit()
}
