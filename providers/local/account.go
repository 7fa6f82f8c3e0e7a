package local

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Account puts a process, and those that it will start, into the cgroup /netlab/<name> of
// the hierarchy that counts processor time: what it uses can be told from what others do.
func Account(name string, pid int) error {
	root, err := accounting("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	dir := filepath.Join(root, CgroupOf(name))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the cgroup of %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("put process %d into the cgroup of %s: %w", pid, name, err)
	}
	return nil
}

// accounting finds where the hierarchy that counts processor time is mounted: v1's
// cpuacct or, without one, v2.
func accounting(mountinfo string) (string, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", err
	}
	defer f.Close()
	unified := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(kind) < 3 {
			continue
		}
		switch {
		case kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), "cpuacct"):
			return place[4], nil
		case kind[0] == "cgroup2":
			unified = place[4]
		}
	}
	if unified == "" {
		return "", errors.New("no cgroup hierarchy that counts processor time is mounted")
	}
	return unified, nil
}
