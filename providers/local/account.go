package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"netlab.dev/netlab/labs"
)

// Account puts a process, and those that it will start, into a machine's cgroup of the
// hierarchy that counts processor time: what it uses can be told from what others do.
func Account(lab labs.Name, machine string, pid int) error {
	if err := lab.Check(); err != nil {
		return err
	}
	root, err := accounting("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	dir := filepath.Join(root, CgroupOf(lab, machine))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the cgroup of %s: %w", machine, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("put process %d into the cgroup of %s: %w", pid, machine, err)
	}
	return nil
}

// accounting finds where the hierarchy that counts processor time is mounted: v1's
// cpuacct or, without one, v2.
func accounting(file string) (string, error) {
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
		return "", errors.New("no cgroup hierarchy that counts processor time is mounted")
	}
	return unified, nil
}
