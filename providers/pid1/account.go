package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// account moves a process to the named child cgroup, in the hierarchy that accounts CPU time, as
// mounted in the machine.
func account(name string, pid int) error {
	root, err := cpuHierarchy("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	dir := filepath.Join(root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create the cgroup of %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0o644); err != nil {
		return fmt.Errorf("move process %d to the cgroup of %s: %w", pid, name, err)
	}
	return nil
}

// cpuHierarchy finds where the hierarchy that accounts CPU time is mounted: v1's
// cpuacct or, without one, v2.
func cpuHierarchy(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	mounts, err := mountinfo.GetMountsFromReader(f, mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	unified := ""
	for _, m := range mounts {
		if slices.Contains(strings.Split(m.VFSOptions, ","), "cpuacct") {
			return m.Mountpoint, nil
		}
		if m.FSType == "cgroup2" {
			unified = m.Mountpoint
		}
	}
	if unified == "" {
		return "", errors.New("no cgroup hierarchy that accounts CPU time is mounted")
	}
	return unified, nil
}
