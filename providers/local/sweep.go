package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
)

// LabelKey is the environment variable that names the lab of a process, for people who look at
// one. It proves nothing: children inherit it, and everybody can set it.
const LabelKey = "NETLAB_LAB"

// cgroupRoot is the parent cgroup of all labs.
const cgroupRoot = "/netlab"

// CgroupOf returns the path of the cgroup of a lab, or of one of its machines, in every hierarchy.
func CgroupOf(lab labs.Name, machine string) string {
	return filepath.Join(cgroupRoot, lab.Label(), machine)
}

// helpers is the cgroup of a lab's processes outside of its machines; no machine's name has a "_".
const helpers = "_helpers"

// join is a shell script that moves the shell into the cgroup whose cgroup.procs is $1 and
// removes that argument.
const join = `echo 0 >"$1"; shift; `

// Enrol has a command start in the lab's cgroup, where `down` finds it and its children. The
// command must not have been started.
func Enrol(lab labs.Name, cmd *exec.Cmd) error {
	procs, err := enrolment(lab)
	if err != nil {
		return err
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		return err
	}
	cmd.Args = append([]string{"sh", "-ec", join + `exec "$@"`, "sh", procs, cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.Err = sh, nil
	return nil
}

// enrolment returns the cgroup.procs file of the cgroup helpers of a lab, and makes the cgroup:
// in the unified hierarchy, or else in one that takes processes without conditions.
func enrolment(lab labs.Name) (string, error) {
	if err := lab.Check(); err != nil {
		return "", err
	}
	var root string
	for _, m := range cgroupMounts() {
		if m.unified {
			root = m.path
			break
		}
		if slices.Contains(m.options, "pids") || root == "" && slices.Contains(m.options, "freezer") {
			root = m.path
		}
	}
	if root == "" {
		return "", errors.New("no cgroup hierarchy with the controller pids is mounted")
	}
	dir := filepath.Join(root, CgroupOf(lab, helpers))
	return filepath.Join(dir, "cgroup.procs"), makeCgroup(dir)
}

// cgroupMount is a mounted hierarchy.
type cgroupMount struct {
	path    string
	unified bool
	options []string // of the hierarchy: on cgroup v1 its controllers
}

func cgroupMounts() (mounts []cgroupMount) {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(data)) {
		// proc_pid_mountinfo(5): …, mount point (5th), … - type, source, options.
		before, after, _ := strings.Cut(line, " - ")
		place, source := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(source) < 3 || source[0] != "cgroup" && source[0] != "cgroup2" {
			continue
		}
		mounts = append(mounts, cgroupMount{place[4], source[0] == "cgroup2", strings.Split(source[2], ",")})
	}
	return mounts
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

// Processes lists the lab's live processes except this one: those in its cgroups, and the programs
// of labs that earlier versions of netlab made, which ran in the cgroup of the user's session.
func Processes(lab labs.Name) []int {
	pids := InCgroups(lab, "")
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && earlier(pid, lab) && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() })
}

// earlier reports whether a process is a forwarder or an agent that an earlier version of netlab
// started for the lab: root's, with the label and with the lab's command line.
func earlier(pid int, lab labs.Name) bool {
	at := fmt.Sprintf("/proc/%d/", pid)
	line, err := os.ReadFile(at + "cmdline")
	args := SplitZero(line)
	if err != nil || len(args) < 3 || !(args[1] == "forward" && args[2] == lab.Label() || args[1] == "agent" && args[2] == "serve") {
		return false
	}
	var st unix.Stat_t
	env, err := os.ReadFile(at + "environ")
	return err == nil && unix.Stat(at, &st) == nil && st.Uid == 0 && slices.Contains(SplitZero(env), LabelKey+"="+lab.Label())
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

// Labs lists the labs that have cgroups on this machine.
func Labs() []labs.Name {
	var found []labs.Name
	for _, dir := range cgroupDirs(cgroupRoot) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if lab, err := labs.ParseName(e.Name()); err == nil && e.IsDir() {
				found = append(found, lab)
			}
		}
	}
	return found
}

// cgroupDirs returns the directories of a cgroup in all mounted hierarchies where it exists.
func cgroupDirs(cgroup string) []string {
	var dirs []string
	for _, m := range cgroupMounts() {
		dir := filepath.Join(m.path, cgroup)
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// thaw lets the processes of a lab, or of one of its machines, run again where a container is
// paused: on cgroup v1 a frozen process does not take its SIGKILL (freezer-subsystem.rst).
func thaw(lab labs.Name, machine string) {
	_ = Unfreeze(lab) // a frozen cgroup keeps those below it frozen, whatever is written there
	for _, dir := range cgroupDirs(CgroupOf(lab, machine)) {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "freezer.state" {
				_ = os.WriteFile(path, []byte("THAWED"), 0) // what stays frozen is reported by KillAll
			}
			return nil
		})
	}
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
