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

// Alone reports whether nothing else uses the machine, as on CI: missing requirements of labs are
// then failures, and every difference afterwards is attributed to the lab.
func Alone() bool { return os.Getenv("NETLAB_TEST_LABS") == "require" }

// NeedLabs skips a test if labs cannot run: without root, or with -short. If they are required (see
// Alone) it fails instead. It waits until no other test runs labs.
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

// turn is an abstract unix socket: only one process of the machine can hold it, it is released when
// the process exits, and it is not a file.
const turn = "@netlab-test-labs"

// takeTurn waits until no other test runs labs. The names of labs are the same in each run, so that
// the leftovers of a killed test are found and removed.
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

// settling is the time that the kernel has to clean up after a lab.
const settling = 10 * time.Second

// NothingLeft compares the machine with a snapshot from before a lab was made. Unless
// the test is Alone, other programs may have changed the machine: then it checks only for things
// with the lab's name, and for processes with its label.
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

// others reports differences that no lab caused: processes or namespaces that no longer exist, and
// new processes that do not descend from netlab.
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
