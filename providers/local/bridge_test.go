package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The module is loaded once, and leaves the machine's own bridges as they were.
func TestBridgeFilter(t *testing.T) {
	dir, loaded := filepath.Join(t.TempDir(), "bridge"), 0
	read := func() string {
		data, err := os.ReadFile(filepath.Join(dir, "bridge-nf-call-iptables"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	b := bridgeFilter{dir, func(context.Context) error {
		loaded++
		return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "bridge-nf-call-iptables"), []byte("1"), 0o644))
	}}
	if err := b.provide(t.Context()); err != nil || loaded != 1 || read() != "0" {
		t.Errorf("loaded %d times, bridge-nf-call-iptables is %q: %v", loaded, read(), err)
	}
	// Who loaded it, or switched it on since, meant it.
	if err := os.WriteFile(filepath.Join(dir, "bridge-nf-call-iptables"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.provide(t.Context()); err != nil || loaded != 1 || read() != "1" {
		t.Errorf("the second time: loaded %d times, bridge-nf-call-iptables is %q: %v", loaded, read(), err)
	}
}

// A user who may not load it gets a hint.
func TestBridgeFilterMissing(t *testing.T) {
	refused := errors.New("not permitted")
	b := bridgeFilter{filepath.Join(t.TempDir(), "bridge"), func(context.Context) error { return refused }}
	err := b.provide(t.Context())
	var hinted interface{ Hint() string }
	if !errors.Is(err, refused) || !errors.As(err, &hinted) {
		t.Errorf("%v, or without a hint", err)
	}
}
