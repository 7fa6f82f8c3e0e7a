package providers

import (
	"os"
	"path/filepath"
	"testing"

	"netlab.dev/netlab/labs"
)

// TestDownOfAKilledVerification: the lock file of a killed process goes with the lab; that of a
// process that runs is its own.
func TestDownOfAKilledVerification(t *testing.T) {
	root, lab := Root(t.TempDir()), labs.MustName("lab")
	left := filepath.Join(string(root), ".lab.verify.lock")
	for _, file := range []string{left, filepath.Join(string(root), ".lab.exercise.lock")} {
		if err := os.WriteFile(file, []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Down(t.Context(), root, lab); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(string(root)); err != nil || len(entries) != 0 {
		t.Errorf("left: %v (%v)", entries, err)
	}
	release, err := root.LockVerify(t.Context(), lab, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := Down(t.Context(), root, lab); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Errorf("the lock of a running process: %v", err)
	}
}
