package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cgroup2Needs are the requirements of Nodes on a cgroup v2 hierarchy with its root at dir; none
// if dir is not such a root, as on cgroup v1. kubelet and runc require controllers that are
// available and can be enabled for the Nodes' cgroups.
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
		list = append(list, need{slices.Contains(there, c), "cgroup v2 controller " + c + " is not available",
			fmt.Sprintf("boot the kernel without cgroup_disable=%[1]s (a Raspberry Pi: with cgroup_enable=%[1]s) and without mounting it as cgroup v1; in a container, delegate %[1]s to the container", c)})
		handed = handed && slices.Contains(down, c)
	}
	// A cgroup with processes cannot enable controllers for its children, except the kernel's root
	// cgroup, which has no type (cgroup-v2.rst, "No Internal Process Constraint"). The root in a
	// container is an ordinary cgroup.
	free := !exists(filepath.Join(dir, "cgroup.type")) || len(read("cgroup.procs")) == 0
	return append(list, need{handed || free, "the cgroup at " + dir + " has processes in it, so its controllers cannot be enabled for the Nodes' cgroups",
		fmt.Sprintf("move them to a child cgroup: mkdir %[1]s/init; for p in $(cat %[1]s/cgroup.procs); do echo $p >%[1]s/init/cgroup.procs; done", dir)})
}
