package regular

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a Node puts in the place of its log leads to no file of the machine, and holds nobody up.
func TestOnlyRegularFiles(t *testing.T) {
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(secret, []byte("secret"), 0o600), os.WriteFile(at("a.log"), []byte("said"), 0o644),
		os.Symlink(secret, at("out.log")), os.Symlink("a.log", at("in.log")), unix.Mkfifo(at("fifo.log"), 0o644), os.Mkdir(at("dir.log"), 0o755)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"out.log", "in.log", "fifo.log", "dir.log", "none.log"} {
			if text, err := Read(root, name, 100); err == nil {
				t.Errorf("%s is read: %q", name, text)
			}
		}
		if text, err := Read(root, "a.log", 4); err != nil || string(text) != "said" {
			t.Errorf("a.log: %q (%v)", text, err)
		}
		if _, err := Read(root, "a.log", 3); err == nil {
			t.Error("a file over the limit is read")
		}
		for _, name := range []string{"out.log", "fifo.log", "dir.log", "a.log", "new.log"} {
			f, err := Append(root, name)
			if err != nil {
				t.Errorf("append to %s: %v", name, err)
				continue
			}
			f.WriteString("!")
			f.Close()
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("a FIFO holds the caller up")
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != "secret" {
		t.Errorf("the machine's file is %q (%v)", text, err)
	}
	if text, err := os.ReadFile(at("a.log")); err != nil || string(text) != "said!" {
		t.Errorf("a.log is %q (%v)", text, err)
	}
}
