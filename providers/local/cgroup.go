package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cgroup2Needs are what Nodes take from a cgroup v2 hierarchy with its root at dir; none
// where dir is no such root, as on cgroup v1. kubelet and runc count and limit with
// controllers, which have to be there and to be handed down to the Nodes' cgroups.
func cgroup2Needs(dir string) []need {
	read := func(name string) []string {
		data, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.Fields(string(data))
	}
	if !exists(filepath.Join(dir, "cgroup.controllers")) {
		return nil
	}
	there, down := read("cgroup.controllers"), read("cgroup.subtree_control")
	var list []need
	handed := true
	for _, c := range []string{"cpu", "memory", "pids"} {
		list = append(list, need{slices.Contains(there, c), "cgroup v2 has no controller " + c + " here",
			fmt.Sprintf("boot the kernel without cgroup_disable=%[1]s (a Raspberry Pi: with cgroup_enable=%[1]s) and without cgroup v1 of it; in a container, have %[1]s delegated to it", c)})
		handed = handed && slices.Contains(down, c)
	}
	// A cgroup with processes hands nothing down, but for the kernel's own root, which has no type
	// (cgroup-v2.rst, "No Internal Process Constraint"). A container's root is a cgroup as others.
	free := !exists(filepath.Join(dir, "cgroup.type")) || len(read("cgroup.procs")) == 0
	return append(list, need{handed || free, "the cgroup at " + dir + " has processes in it, and so hands no controller down to the Nodes'",
		fmt.Sprintf("move them into one below it: mkdir %[1]s/init; for p in $(cat %[1]s/cgroup.procs); do echo $p >%[1]s/init/cgroup.procs; done", dir)})
}
