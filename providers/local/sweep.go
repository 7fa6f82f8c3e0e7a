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

	"netlab.dev/netlab/labs"
)

// LabelKey is the environment variable that labels every process of a lab.
const LabelKey = "NETLAB_LAB"

// cgroupRoot is the parent cgroup of all labs.
const cgroupRoot = "/netlab"

// CgroupOf returns the path of the cgroup of a lab, or of one of its machines, in every hierarchy.
func CgroupOf(lab labs.Name, machine string) string {
	return filepath.Join(cgroupRoot, lab.Label(), machine)
}

// labelled reports whether a process has the lab's label.
func labelled(pid int, lab labs.Name) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	return slices.Contains(SplitZero(env), LabelKey+"="+lab.Label())
}

// SplitZero splits the lists in /proc/<pid>/environ and cmdline.
func SplitZero(data []byte) []string {
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// KillAll kills the listed processes and lists again until none is left or ctx is done.
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
		case <-time.After(10 * time.Millisecond): // there is no notification for processes that are not our children
		case <-ctx.Done():
			return fmt.Errorf("processes are still running: %v: %w", left, ctx.Err())
		}
	}
}

// Processes lists the lab's live processes except this one, found by label and by
// cgroup: a runc killed between clone and exec has no label yet.
func Processes(lab labs.Name) []int {
	pids := InCgroups(lab, "")
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && labelled(pid, lab) && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() })
}

// InCgroups lists the processes of a lab, or of one of its machines, by its cgroup in every
// hierarchy.
func InCgroups(lab labs.Name, machine string) []int {
	var pids []int
	for _, dir := range cgroupDirs(CgroupOf(lab, machine)) {
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

// Labs lists the labs that have cgroups or processes on this machine.
func Labs() []labs.Name {
	var found []labs.Name
	add := func(name string) {
		if lab, err := labs.ParseName(name); err == nil {
			found = append(found, lab)
		}
	}
	for _, dir := range cgroupDirs(cgroupRoot) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				add(e.Name())
			}
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, proc := range procs {
		env, _ := os.ReadFile(proc)
		for _, v := range SplitZero(env) {
			if name, ok := strings.CutPrefix(v, LabelKey+"="); ok {
				add(name)
			}
		}
	}
	return found
}

// cgroupDirs returns the directories of a cgroup in all mounted hierarchies where it exists.
func cgroupDirs(cgroup string) []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var dirs []string
	for line := range strings.Lines(string(data)) {
		before, after, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(after, "cgroup ") && !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		dir := filepath.Join(strings.Fields(before)[4], cgroup)
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// RemoveCgroups removes the cgroups of a lab, or of one of its machines, deepest first. A
// cgroup stays busy for a moment after its last process exited.
func RemoveCgroups(ctx context.Context, lab labs.Name, machine string) error {
	if err := lab.Check(); err != nil {
		return err
	}
	cgroup := CgroupOf(lab, machine)
	for {
		var left error
		dirs := cgroupDirs(cgroup)
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
			// Its parents, once their last child is removed: /netlab too.
			for parent := range strings.Count(cgroup, "/") - 1 {
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
