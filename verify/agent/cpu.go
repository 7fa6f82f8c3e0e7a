package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"netlab.dev/netlab/internal/procfs"
)

// CPU is the CPU time of the client's or server's cgroup, or why it is not known.
type CPU struct {
	Seconds float64 `json:"seconds"`
	Missing string  `json:"missing,omitempty"`
}

func (c CPU) since(before CPU) CPU {
	if before.Missing != "" {
		return before
	}
	c.Seconds -= before.Seconds
	return c
}

// ownCPU reads the CPU time of the agent's cgroup: v1's cpuacct controller or, where the
// agent is in none, v2. It is valid only where the agent and its children are alone.
func ownCPU() CPU {
	seconds, err := ownSeconds()
	if err != nil {
		return CPU{Missing: err.Error()}
	}
	dir, _ := ownCgroup("/proc/self")
	if stranger := strangerIn(dir); stranger != 0 {
		return CPU{Missing: fmt.Sprintf("the agent does not have its own cgroup: process %d is in it too", stranger)}
	}
	return CPU{Seconds: seconds}
}

// ownSeconds reads it whatever else is in the cgroup.
func ownSeconds() (float64, error) {
	dir, err := ownCgroup("/proc/self")
	if err != nil {
		return 0, err
	}
	return cgroupSeconds(dir)
}

// cgroupSeconds reads the CPU time of a cgroup, in seconds.
func cgroupSeconds(dir string) (float64, error) {
	if data, err := os.ReadFile(filepath.Join(dir, "cpuacct.usage")); err == nil {
		nanos, err := strconv.ParseFloat(strings.TrimSpace(string(data)), 64)
		return nanos / 1e9, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("its cgroup has no CPU controller")
	}
	for line := range strings.Lines(string(data)) {
		if micros, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(micros), 64)
			return n / 1e6, err
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat has no usage_usec", dir)
}

// ownCgroup finds the directory of a process's cgroup that counts CPU time, by cgroups(7):
// proc/cgroup has the path below the hierarchy's root, proc/mountinfo where which part of
// the hierarchy is mounted.
func ownCgroup(proc string) (string, error) {
	paths := map[string]string{} // controller → path; "" for v2
	data, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 {
			for _, controller := range strings.Split(parts[1], ",") {
				paths[controller] = parts[2]
			}
		}
	}
	file, err := os.Open(filepath.Join(proc, "mountinfo"))
	if err != nil {
		return "", err
	}
	defer file.Close()
	mounts, err := mountinfo.GetMountsFromReader(file, mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", file.Name(), err)
	}
	found := ""
	for _, m := range mounts {
		v1 := slices.Contains(strings.Split(m.VFSOptions, ","), "cpuacct")
		path, there := paths[map[bool]string{true: "cpuacct"}[v1]]
		if !there || !v1 && (m.FSType != "cgroup2" || found != "") {
			continue
		}
		// The mount may be a part of the hierarchy: a container's.
		if rest, below := strings.CutPrefix(path, strings.TrimSuffix(m.Root, "/")); below {
			found = filepath.Join(m.Mountpoint, rest)
		} else if path == "/" {
			found = m.Mountpoint
		}
		if v1 && found != "" {
			return found, nil
		}
	}
	if found == "" {
		return "", fmt.Errorf("no cgroup that counts CPU time is mounted")
	}
	return found, nil
}

// strangerIn returns a process of a cgroup that is neither this one, nor its parent, nor a
// child of one of them; 0 for none.
func strangerIn(dir string) int {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return 0
	}
	family := []int{os.Getpid()}
	for _, field := range strings.Fields(string(data)) {
		pid, _ := strconv.Atoi(field)
		if pid != os.Getpid() && !slices.Contains(family, parentOf(pid)) {
			return max(pid, 1)
		}
	}
	return 0
}

// parentOf returns a process's parent; for one that has exited since, this process.
func parentOf(pid int) int {
	s, err := procfs.Read(pid)
	if err != nil {
		return os.Getpid()
	}
	return s.Parent
}
