package local

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// need is one requirement of Nodes on the machine.
type need struct {
	met        bool
	what, hint string
}

// Check returns the unmet requirements of a plan on this machine: programs, the kernel's file
// systems and modules, bridges that networks are to be connected to.
func Check(plan topology.Plan) error {
	errs := fabric.CheckUplinks(plan)
	for _, n := range needs(plan) {
		if !n.met {
			errs = errors.Join(errs, hint.With(errors.New(n.what), n.hint))
		}
	}
	return errs
}

func needs(plan topology.Plan) []need {
	var list []need
	for tool, pkg := range map[string]string{"nsenter": "util-linux", "mount": "mount", "cp": "coreutils", "sh": "dash"} {
		_, err := exec.LookPath(tool)
		list = append(list, need{err == nil, tool + " is not on the PATH", "apt-get install " + pkg})
	}
	list = append(list,
		need{KernelMounts("overlay") || module("overlay"), "the kernel has no overlay file system", "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS"},
		need{KernelMounts("cgroup") || KernelMounts("cgroup2"), "the kernel has no cgroups", "a kernel with CONFIG_CGROUPS"},
		need{mounted("cgroup") || mounted("cgroup2"), "no cgroup hierarchy is mounted", "mount -t cgroup2 none /sys/fs/cgroup"},
		need{exists("/proc/sys/net/bridge") || module("br_netfilter"), "br_netfilter is not available: Services fail between Pods of one Node",
			"modprobe br_netfilter, or a kernel with CONFIG_BRIDGE_NETFILTER"},
		need{exists("/proc/sys/net/bridge") || exists(modprobe()), modprobe() + " not found: netlab loads br_netfilter with it", "apt-get install kmod"},
	)
	list = append(list, cgroup2Needs("/sys/fs/cgroup")...)
	list = append(list, inotifyNeed(plan), neighborNeed(plan))
	slices.SortFunc(list, func(a, b need) int { return strings.Compare(a.what, b.what) })
	return list
}

// KernelMounts reports whether the kernel currently supports a file system.
func KernelMounts(fstype string) bool {
	known, _ := os.ReadFile("/proc/filesystems")
	return slices.Contains(strings.Fields(string(known)), fstype)
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// module reports whether a kernel module is loaded or available.
func module(name string) bool {
	if exists("/sys/module/" + name) {
		return true
	}
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		data, _ := os.ReadFile(filepath.Join("/lib/modules", release(), list))
		if strings.Contains(string(data), "/"+name+".ko") {
			return true
		}
	}
	return false
}

// release is the release of the running kernel, as printed by uname -r.
func release() string {
	var uts unix.Utsname
	unix.Uname(&uts) // it fails only for a bad pointer
	return unix.ByteSliceToString(uts.Release[:])
}

// KernelHas reports whether the kernel has a feature, by its configuration, if readable, and by
// its modules. If it cannot be determined, the feature counts as present.
func KernelHas(option, name string) bool {
	if name != "" && module(name) {
		return true
	}
	config, err := exec.Command("zcat", "/proc/config.gz").Output()
	if err != nil {
		config, err = os.ReadFile("/boot/config-" + release())
	}
	if err != nil {
		return true // unknown: assume that it is present
	}
	// A module may be loaded on demand. Without its directory, as in a container, this cannot be
	// determined.
	return strings.Contains(string(config), option+"=y\n") ||
		strings.Contains(string(config), option+"=m\n") && !exists("/lib/modules/"+release())
}

func mounted(fstype string) bool {
	data, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == fstype {
			return true
		}
	}
	return false
}
