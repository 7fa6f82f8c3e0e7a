package providers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A large tree is removed whole, and nothing that a link in it leads to.
func TestRemoveTree(t *testing.T) {
	dir, outside := filepath.Join(t.TempDir(), "tree"), t.TempDir()
	precious := filepath.Join(outside, "precious")
	if err := os.WriteFile(precious, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		for j := range 30 {
			deep := filepath.Join(dir, fmt.Sprint(i), "x", fmt.Sprint(j), "y")
			if err := errors.Join(os.MkdirAll(deep, 0o755), os.WriteFile(filepath.Join(deep, "f"), nil, 0o644), os.Symlink(outside, filepath.Join(deep, "link"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := removeTree(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tree is left (%v)", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	if err := removeTree(dir); err != nil {
		t.Errorf("once more: %v", err)
	}
	within := filepath.Join(outside, "within", "file")
	if err := errors.Join(os.Mkdir(filepath.Dir(within), 0o755), os.WriteFile(within, nil, 0o644), os.Symlink(outside, dir)); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err != nil {
		t.Errorf("a link: %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is left (%v)", err)
	}
	if _, err := os.Stat(within); err != nil {
		t.Errorf("the tree is a link, and was followed: %v", err)
	}
}
