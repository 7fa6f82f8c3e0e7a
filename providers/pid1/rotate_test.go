package pid1

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A log beyond the limit is emptied while its writer has it open, and the one before it is replaced.
// Links and FIFOs in the place of a log are left alone.
func TestRotate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kubelet.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	write := func(text string) {
		t.Helper()
		if _, err := log.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := rotate(path, 10); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name, text string) {
		t.Helper()
		if is, err := os.ReadFile(filepath.Join(dir, name)); string(is) != text {
			t.Errorf("%s is %q (%v), want %q", name, is, err, text)
		}
	}
	write("0123456789")
	want("kubelet.log", "0123456789")
	write("more")
	want("kubelet.log", "")
	want("kubelet.log.1", "0123456789more")
	write("next\n")
	want("kubelet.log", "next\n")
	write(strings.Repeat("x", 10))
	want("kubelet.log.1", "next\n"+strings.Repeat("x", 10))

	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(filepath.Join(dir, "kubelet.log.1"), link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := rotate(link, 1); err == nil {
		t.Error("a link is rotated")
	}
	if err := rotate(fifo, 1); err != nil {
		t.Error(err)
	}
	want("kubelet.log.1", "next\n"+strings.Repeat("x", 10))
	if err := rotate(filepath.Join(dir, "none"), 1); err != nil {
		t.Error(err)
	}
}
