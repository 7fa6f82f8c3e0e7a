package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A reader sees the old content or the new, and never a part.
func TestWriteIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	contents := []string{strings.Repeat("a", 1<<16), strings.Repeat("b", 1<<17)}
	if err := Write(path, []byte(contents[0]), 0o640); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		var err error
		for i := range 200 {
			err = errors.Join(err, Write(path, []byte(contents[i%2]), 0o640))
		}
		done <- err
	}()
	for reading := true; reading; {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			reading = false
		default:
			if data, err := os.ReadFile(path); err != nil || !slices.Contains(contents, string(data)) {
				t.Fatalf("read %d bytes (%v)", len(data), err)
			}
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}

func TestReplaceKeepsModeAndOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for i, mode := range []os.FileMode{0o600, 0o640} {
		if err := Replace(path, []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("write %d: mode %v (%v), want %v", i, info.Mode(), err, mode)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
	}
}
