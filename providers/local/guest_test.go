package local

import (
	"os"
	"path/filepath"
	"testing"

	"netlab.dev/netlab/labs"
)

func TestGuest(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for lab, want := range map[string]bool{"theirs": true, "ours": false} {
		if got := Guest(dir, labs.MustName(lab)); got != want {
			t.Errorf("lab %q is a guest: %t", lab, got)
		}
	}
}
