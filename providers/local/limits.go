package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
)

// limit is one limit of a lab's cgroup.
type limit struct {
	controller string
	v1, v2     string // its file
	field      string // of the lab file
	value      int64
}

// limitLab applies a lab's limits to its cgroup, which has its Nodes and outside hosts, and makes it.
// A controller that the machine lacks limits nothing.
func limitLab(lab labs.Name, of labs.Limits) error {
	if err := lab.Check(); err != nil {
		return err
	}
	limits := []limit{
		{"memory", "memory.limit_in_bytes", "memory.max", "limits.memory", int64(of.Memory)},
		{"pids", "pids.max", "pids.max", "limits.processes", int64(of.Processes)},
	}
	defaults := []func() int64{func() int64 { return memoryShare("/proc/meminfo") }, func() int64 { return processShare("/proc/sys/kernel") }}
	var errs error
	for i, l := range limits {
		if l.value == 0 {
			l.value = defaults[i]()
		}
		if l.value == 0 {
			continue
		}
		if err := l.apply(cgroupMounts(), CgroupOf(lab, "")); err != nil {
			errs = errors.Join(errs, hint.With(fmt.Errorf("limit %s of the lab to %d: %w", l.controller, l.value, err), "where the lab uses more than that, raise "+l.field+" in the lab file"))
		}
	}
	return errs
}

// memoryShare is nine tenths of the machine's memory: a lab that takes more is killed in the place
// of the machine's programs.
func memoryShare(meminfo string) int64 {
	data, _ := os.ReadFile(meminfo)
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "MemTotal:" {
			kilobytes, _ := strconv.ParseInt(f[1], 10, 64)
			return kilobytes * 1024 / 10 * 9
		}
	}
	return 0
}

// processShare is half of the processes and threads that the kernel allows.
func processShare(kernel string) (least int64) {
	for _, name := range []string{"pid_max", "threads-max"} {
		data, _ := os.ReadFile(filepath.Join(kernel, name))
		if n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && (least == 0 || n < least) {
			least = n
		}
	}
	return least / 2
}

// apply writes the limit in the hierarchy of its controller.
func (l limit) apply(mounts []cgroupMount, cgroup string) error {
	for _, m := range mounts {
		file := l.v1
		switch {
		case m.unified:
			there, _ := os.ReadFile(filepath.Join(m.path, "cgroup.controllers"))
			if !slices.Contains(strings.Fields(string(there)), l.controller) {
				continue
			}
			file = l.v2
		case !slices.Contains(m.options, l.controller):
			continue
		}
		dir := filepath.Join(m.path, cgroup)
		if err := makeCgroup(dir); err != nil {
			return err
		}
		if m.unified {
			if err := delegate(m.path, cgroup, l.controller); err != nil {
				return err
			}
		}
		return os.WriteFile(filepath.Join(dir, file), strconv.AppendInt(nil, l.value, 10), 0o644)
	}
	return nil
}

// delegate enables a controller for a cgroup of the unified hierarchy, from its root on.
func delegate(root, cgroup, controller string) error {
	dir := root
	for _, name := range strings.Split(strings.Trim(cgroup, "/"), "/") {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
			return err
		}
		dir = filepath.Join(dir, name)
	}
	return nil
}

// makeCgroup makes a cgroup and its parents.
func makeCgroup(dir string) (err error) {
	for range 10 { // another lab's `down` may remove the empty parent meanwhile
		if err = os.MkdirAll(dir, 0o755); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}
