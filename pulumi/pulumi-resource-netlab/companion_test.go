package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"netlab.dev/netlab/internal/hint"
)

// TestCompanion: netlab is looked for on PATH, and one of another build is refused.
func TestCompanion(t *testing.T) {
	foreign, err := exec.LookPath("go") // a Go program too
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	_, err = companion()
	if err == nil || !strings.Contains(err.Error(), "nor on PATH") || len(hint.Of(err)) != 1 {
		t.Errorf("without netlab: %v", err)
	}
	other := filepath.Join(dir, "netlab")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, other); err != nil {
		t.Fatal(err)
	}
	if path, err := companion(); err != nil || path != other {
		t.Errorf("of the same build: %s (%v)", path, err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(foreign, other); err != nil {
		t.Fatal(err)
	}
	if _, err := companion(); err == nil || !strings.Contains(err.Error(), "was built from") {
		t.Errorf("of another build: %v", err)
	}
}

// TestOrigin: the commit counts, and whether the checkout had changes.
func TestOrigin(t *testing.T) {
	of := func(revision, modified string) string {
		return origin(&debug.BuildInfo{Main: debug.Module{Path: "m", Version: "v1"}, Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}, {Key: "GOOS", Value: revision}}})
	}
	if of("a", "true") == of("a", "false") || of("a", "true") == of("b", "true") || of("a", "true") != "m v1 a true" {
		t.Errorf("%q, %q, %q", of("a", "true"), of("a", "false"), of("b", "true"))
	}
}

// TestVersion: Pulumi wants a semantic version; the hash of a commit without a tag is none.
func TestVersion(t *testing.T) {
	before := release
	defer func() { release = before }()
	for text, want := range map[string]string{"v0.3.0": "0.3.0", "v0.3.0-4-g1234567": "0.3.0-4-g1234567", "1234567": "0.0.0-dev", "29bc9c7-dirty": "0.0.0-dev", "": "0.0.0-dev"} {
		release = text
		if got := version().String(); got != want {
			t.Errorf("%q is version %s, want %s", text, got, want)
		}
	}
}
