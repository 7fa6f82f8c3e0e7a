package local

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
)

// A limit is written to the hierarchy that has its controller: v1's, or the unified one, where it is
// enabled from the root on.
func TestLimits(t *testing.T) {
	v1, v2 := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(v2, "cgroup.controllers"), []byte("cpu pids\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mounts := []cgroupMount{{path: t.TempDir(), options: []string{"rw", "freezer"}}, {path: v1, options: []string{"rw", "memory"}}, {path: v2, unified: true}}
	for _, l := range []limit{{controller: "memory", v1: "memory.limit_in_bytes", v2: "memory.max", value: 4096}, {controller: "pids", v1: "pids.max", v2: "pids.max", value: 7}, {controller: "rdma", value: 1}} {
		if err := l.apply(mounts, "/netlab/lab"); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{
		filepath.Join(v1, "netlab", "lab", "memory.limit_in_bytes"): "4096",
		filepath.Join(v2, "netlab", "lab", "pids.max"):              "7",
		filepath.Join(v2, "cgroup.subtree_control"):                 "+pids",
		filepath.Join(v2, "netlab", "cgroup.subtree_control"):       "+pids",
	} {
		if is := mustRead(t, file); is != want {
			t.Errorf("%s is %q, want %q", strings.TrimPrefix(file, filepath.Dir(v2)), is, want)
		}
	}
	if exists(filepath.Join(v2, "netlab", "lab", "cgroup.subtree_control")) {
		t.Error("the lab's own children are delegated: that is runc's")
	}
}

// Defaults fit the machine: they leave a part of it, and are not there where it does not say.
func TestShares(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"meminfo": "MemTotal:       16000000 kB\nMemFree:  1 kB\n", "pid_max": "32768\n", "threads-max": "190000\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if is := memoryShare(filepath.Join(dir, "meminfo")); is != 14745600000 {
		t.Errorf("memory is %d", is)
	}
	if is := processShare(dir); is != 16384 {
		t.Errorf("processes are %d", is)
	}
	if memoryShare("/nonexistent") != 0 || processShare("/nonexistent") != 0 {
		t.Error("a share of what is not known")
	}
}

// TestLimitsHold: what a machine of a lab takes beyond the lab's limits is refused, or ends it, on
// the hierarchies of this machine.
func TestLimitsHold(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("takes memory and processes up to the limits of a cgroup, as root: not with -short")
	}
	lab := labs.MustName("nlt-limits")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := RemoveCgroups(ctx, lab, ""); err != nil {
			t.Error(err)
		}
	})
	if err := limitLab(lab, labs.Limits{Memory: 128 << 20, Processes: 50}); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{"memory": "killed", "processes": "unavailable errno=11"} {
		cmd := exec.Command("/proc/self/exe", "hog", what)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		begin, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		joined := 0
		for _, m := range cgroupMounts() {
			dir := filepath.Join(m.path, CgroupOf(lab, ""))
			if !exists(dir) {
				continue
			}
			machine := filepath.Join(dir, "m") // a machine's, which has no limit of its own
			if err := makeCgroup(machine); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(machine, "cgroup.procs"), strconv.AppendInt(nil, int64(cmd.Process.Pid), 10), 0o644); err != nil {
				t.Fatal(err)
			}
			joined++
			t.Logf("%s, unified %t", m.path, m.unified)
		}
		begin.Close()
		err = cmd.Wait()
		ended := fmt.Sprint(err, " ", said.String())
		hit := false
		for _, w := range strings.Fields(want) {
			hit = hit || strings.Contains(ended, w)
		}
		if joined == 0 || !hit || strings.Contains(ended, "no limit") {
			t.Errorf("%s beyond the limit, in %d hierarchies: %s", what, joined, ended)
		}
	}
}

// hogAs takes memory or processes once its standard input ends.
func hogAs(args []string) error {
	bufio.NewReader(os.Stdin).ReadByte()
	runtime.LockOSThread() // of which the children's Pdeathsig is
	for i := range 600 {
		if args[2] == "memory" {
			kept = append(kept, bytes.Repeat([]byte{1}, 1<<20))
			continue
		}
		child := exec.Command("/proc/self/exe", "idle")
		child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := child.Start(); err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
	}
	fmt.Println("no limit")
	return nil
}

var kept [][]byte

func idleAs([]string) error {
	time.Sleep(time.Minute)
	return nil
}
