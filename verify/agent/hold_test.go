package agent

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHoldControl: the control socket comes back after a previous Pod took its path and
// ended, and after it was removed; while the previous Pod runs it keeps the path.
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
	time.Sleep(1500 * time.Millisecond) // one and a half intervals of the check
	if is, err := os.Stat(socket); err != nil || !os.SameFile(its, is) {
		t.Errorf("the path of a running agent was taken (%v)", err)
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
	back("the end of the previous Pod")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	back("its removal")
}

// TestPortOfPredecessor: an agent waits for ports that its predecessor is about to leave.
func TestPortOfPredecessor(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := held.Addr().(*net.TCPAddr).Port
	time.AfterFunc(300*time.Millisecond, func() { held.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Server{Name: "a", Address: "127.0.0.1", HTTP: port}.Run(ctx) }()
	url := "http://" + held.Addr().String() + "/"
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		default:
		}
		if r := (Probe{Kind: HTTP, Target: url, TimeoutMillis: 100}).Do(ctx); r.Outcome == Reply {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not serve the port")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
