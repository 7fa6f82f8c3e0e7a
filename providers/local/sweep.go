package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LabelKey is the environment variable that every process of a lab carries.
const LabelKey = "NETLAB_LAB"

// CgroupOf is a lab's cgroup, in every hierarchy.
func CgroupOf(lab string) string { return "/netlab/" + lab }

// labelled reports whether a process carries the lab's label.
func labelled(pid int, lab string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	return slices.Contains(SplitZero(env), LabelKey+"="+lab)
}

// SplitZero splits the lists that /proc/<pid>/environ and cmdline hold.
func SplitZero(data []byte) []string {
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// KillAll ends the listed processes, listing again until none is left or ctx ends.
func KillAll(ctx context.Context, list func() []int) error {
	for {
		left := list()
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-time.After(10 * time.Millisecond): // the kernel tells nobody when a stranger's child is gone
		case <-ctx.Done():
			return fmt.Errorf("processes still run: %v: %w", left, ctx.Err())
		}
	}
}

// Processes lists the lab's live processes but this one, found by label and by
// cgroup: a runc killed between clone and exec has no label yet.
func Processes(lab string) []int {
	pids := InCgroups(lab)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && labelled(pid, lab) && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() })
}

// InCgroups lists the processes below /netlab/<name> in every hierarchy.
func InCgroups(name string) []int {
	var pids []int
	for _, dir := range CgroupDirs(name) {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil
			}
			data, _ := os.ReadFile(path)
			for _, field := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// CgroupDirs gives /netlab/<name> in each mounted cgroup hierarchy where it exists;
// name is a lab, or a lab and a machine.
func CgroupDirs(name string) []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var dirs []string
	for line := range strings.Lines(string(data)) {
		before, after, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(after, "cgroup ") && !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		dir := filepath.Join(strings.Fields(before)[4], CgroupOf(name))
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// RemoveCgroups removes /netlab/<name> everywhere, deepest first. A cgroup stays busy for a
// moment after its last process died.
func RemoveCgroups(ctx context.Context, name string) error {
	for {
		var left error
		dirs := CgroupDirs(name)
		for _, top := range dirs {
			var all []string
			filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					all = append(all, path)
				}
				return nil
			})
			for i := len(all) - 1; i >= 0; i-- {
				if err := unix.Rmdir(all[i]); err != nil && !errors.Is(err, unix.ENOENT) {
					left = fmt.Errorf("remove cgroup %s: %w", all[i], err)
				}
			}
			// Its parents, once their last child is gone: /netlab too.
			for parent := range strings.Count(name, "/") + 1 {
				unix.Rmdir(filepath.Join(top, strings.Repeat("../", parent+1)))
			}
		}
		if left == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return left
		}
	}
}
