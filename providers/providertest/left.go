package providertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"netlab.dev/netlab/topology/fabric/residue"
)

// Alone is true where nothing else uses the machine, as on CI: what labs need may then
// not be absent, and everything that differs afterwards is a lab's.
func Alone() bool { return os.Getenv("NETLAB_TEST_LABS") == "require" }

// NeedLabs skips a test where labs cannot run: without root, or with -short. Where they
// are required (see Alone) it fails instead. It waits until no other test makes labs.
func NeedLabs(t testing.TB) {
	t.Helper()
	refuse := t.Skip
	if Alone() {
		refuse = t.Fatal
	}
	if testing.Short() {
		refuse("makes real labs, which takes minutes: not with -short")
	}
	if os.Geteuid() != 0 {
		refuse("makes real labs, which takes root")
	}
	takeTurn(t)
}

// turn is an abstract unix socket: one process of the machine has it, it goes with that
// process, and it is no file.
const turn = "@netlab-test-labs"

// takeTurn waits until no other test makes labs: their names are the same in each run,
// so that what a killed one left is found and removed.
func takeTurn(t testing.TB) {
	t.Helper()
	for waits := false; ; waits = true {
		l, err := net.Listen("unix", turn)
		if err == nil {
			t.Cleanup(func() { l.Close() })
			return
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
		if !waits {
			t.Log("waits for another test that makes labs")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// settling is how long the kernel may take to tidy up behind a lab.
const settling = 10 * time.Second

// NothingLeft compares the machine with a snapshot from before a lab was made. Unless
// the test is Alone, others may have changed the machine since: then it looks only for
// what carries the lab's name, and for processes with its label.
func NothingLeft(t testing.TB, before residue.Snapshot, lab string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), settling)
	defer cancel()
	for {
		after, err := residue.Take()
		if err != nil {
			t.Fatal(err)
		}
		left := slices.DeleteFunc(residue.Diff(before, after), others)
		if !Alone() {
			left = named(left, lab)
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Errorf("lab %s left:\n%s", lab, strings.Join(left, "\n"))
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// others tells what is no lab's: that a process or namespace is over, and processes
// that began meanwhile and descend from no netlab.
func others(line string) bool {
	if strings.HasPrefix(line, "lost: process ") || strings.HasPrefix(line, "lost: network namespace ") {
		return true
	}
	var pid int
	if _, err := fmt.Sscanf(line, "left: process %d ", &pid); err != nil {
		return false
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err != nil || !strings.Contains("\x00"+string(env), "\x00NETLAB_")
}

func named(lines []string, lab string) []string {
	out := slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, lab) || strings.HasPrefix(l, "lost: ") })
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		if env, _ := os.ReadFile(file); strings.Contains("\x00"+string(env), "\x00NETLAB_LAB="+lab+"\x00") {
			out = append(out, "left: a labelled process: "+file)
		}
	}
	return out
}
