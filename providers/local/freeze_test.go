package local

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
)

// While a lab is frozen none of its processes runs; then all continue, whatever do returned, and after
// a Freeze that was killed.
func TestFreeze(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("requires root")
	}
	lab := labs.MustName("nlt-freeze")
	t.Cleanup(func() {
		if err := KillAll(context.Background(), func() []int { return InCgroups(lab, "") }); err != nil {
			t.Error(err)
		}
		if err := RemoveCgroups(context.Background(), lab, ""); err != nil {
			t.Error(err)
		}
	})
	talker := func(machine string) *bufio.Reader {
		cmd := exec.Command("sh", "-c", "while :; do echo it; done")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { Unfreeze(lab); cmd.Process.Kill(); cmd.Wait() })
		for _, m := range cgroupMounts() {
			if !m.unified && !slices.Contains(m.options, "freezer") {
				continue
			}
			dir := filepath.Join(m.path, CgroupOf(lab, machine))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
				t.Fatal(err)
			}
		}
		return bufio.NewReaderSize(out, 1<<20)
	}
	a := talker("a")
	talks := func() bool {
		said := make(chan bool, 1)
		go func() {
			for range 1 << 17 { // more than the pipe and the reader hold
				if _, err := a.ReadString('\n'); err != nil {
					said <- false
					return
				}
			}
			said <- true
		}()
		select {
		case it := <-said:
			return it
		case <-time.After(10 * time.Second):
			return false
		}
	}
	if Frozen(lab) || !talks() {
		t.Fatal("the process does not run")
	}
	failed := errors.New("it failed")
	err := Freeze(t.Context(), lab, func() error {
		if !Frozen(lab) {
			t.Error("the lab is not frozen")
		}
		return failed
	})
	if !errors.Is(err, failed) || Frozen(lab) || !talks() {
		t.Errorf("after Freeze (%v) the lab is frozen: %v", err, Frozen(lab))
	}

	f, _ := freezerOf(lab)
	if err := os.WriteFile(f.switches, []byte(f.freeze), 0); err != nil { // as a Freeze that was killed
		t.Fatal(err)
	}
	if !Frozen(lab) {
		t.Error("the lab is not about to be frozen")
	}
	if err := Unfreeze(lab); err != nil || Frozen(lab) || !talks() {
		t.Errorf("after Unfreeze (%v) the lab is frozen: %v", err, Frozen(lab))
	}
	if err := Freeze(t.Context(), labs.MustName("nlt-none"), func() error { return nil }); err == nil {
		t.Error("a lab without processes was frozen")
	}
}
