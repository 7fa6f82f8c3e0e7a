package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLabFileOnPipe: every verb that takes a lab file takes it from a pipe, also those that read
// it twice.
func TestLabFileOnPipe(t *testing.T) {
	t.Setenv("NETLAB_CACHE_DIR", t.TempDir())
	t.Setenv("NETLAB_STATE_DIR", t.TempDir())
	fifo := filepath.Join(t.TempDir(), "fd")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	give := func(text string) {
		go func() {
			if f, err := os.OpenFile(fifo, os.O_WRONLY, 0); err == nil {
				f.WriteString(text)
				f.Close()
			}
		}()
	}
	const lab = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: piped}\n"
	for _, verb := range []string{"plan", "down", "status"} {
		give(lab)
		var out, errs bytes.Buffer
		Main([]string{verb, fifo}, nil, &out, &errs)
		if said := out.String() + errs.String(); !strings.Contains(said, "piped") {
			t.Errorf("netlab %s: %s", verb, said)
		}
	}
	give(strings.Repeat("#", maxLabFile+1))
	var out, errs bytes.Buffer
	if code := Main([]string{"plan", fifo}, nil, &out, &errs); code != exitFault || !strings.Contains(errs.String(), "larger than a lab file may be") {
		t.Errorf("a pipe without end: %d %s", code, errs.String())
	}
}
