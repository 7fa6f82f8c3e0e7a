package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
