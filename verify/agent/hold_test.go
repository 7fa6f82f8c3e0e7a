package agent

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHoldControl: the control socket comes back after a predecessor took its path and ended,
// and after it was removed; while the predecessor runs the path is its own.
func TestHoldControl(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Server{Name: "a", Address: "127.0.0.1", Socket: socket}.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	waitFor(t, socket)
	predecessor, err := listenControl(socket)
	if err != nil {
		t.Fatal(err)
	}
	its, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // a look and a half
	if is, err := os.Stat(socket); err != nil || !os.SameFile(its, is) {
		t.Errorf("the path of one that runs was taken (%v)", err)
	}
	predecessor.Close()
	back := func(after string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			c, err := net.Dial("unix", socket)
			if err == nil {
				c.Close()
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("after %s: %v", after, err)
			}
		}
	}
	back("its predecessor's end")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	back("its removal")
}
