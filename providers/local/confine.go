package local

import (
	"runtime"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Root in a machine of namespaces is root on this machine, so what such a machine does not need is
// withheld from it: capabilities, system calls, devices, files of /proc.

// hostCapabilities are what an outside host's services need: to configure and capture the host's own
// network, to bind ports below 1024, and to become another user.
var hostCapabilities = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"}

// withheld are the capabilities that neither kubelet nor a CNI uses, and that reach beyond the Node:
// the clock, and ports and memory of the machine. CAP_SYS_MODULE stays where callsOf can filter:
// runc refuses a Pod that adds a capability that its Node lacks, and many add this one.
// CAP_SYS_BOOT ends only the Node, as reboot(2) of a PID namespace.
var withheld = []string{"CAP_SYS_TIME", "CAP_SYS_RAWIO"}

// nodeCapabilities are those of Nodes.
func nodeCapabilities() []string {
	return slices.DeleteFunc(Capabilities(), func(c string) bool {
		return slices.Contains(withheld, c) || c == "CAP_SYS_MODULE" && callsOf(runtime.GOARCH) == nil
	})
}

// mask is a capability set as in /proc/PID/status, without those that this process lacks.
func mask(names []string) (set uint64) {
	for _, name := range names {
		bit := slices.Index(capabilities[:], strings.TrimPrefix(name, "CAP_"))
		if bit >= 0 && slices.Contains(Capabilities(), name) {
			set |= 1 << bit
		}
	}
	return set
}

// refusedCalls load code into the kernel, or start another one.
var refusedCalls = []string{"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"}

// callsOf returns the filter of system calls of an architecture, for its 32-bit programs too; nil
// where the kernel has no filters, or the architecture is not known here.
func callsOf(arch string) *specs.LinuxSeccomp {
	known := map[string][]specs.Arch{
		"amd64": {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		"arm64": {specs.ArchAARCH64, specs.ArchARM},
	}[arch]
	if known == nil || !exists("/proc/sys/kernel/seccomp/actions_avail") {
		return nil
	}
	return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: known,
		Syscalls: []specs.LinuxSyscall{{Names: refusedCalls, Action: specs.ActErrno}}}
}

// maskedPaths of /proc end the machine or show its memory.
var maskedPaths = []string{"/proc/kcore", "/proc/kmem", "/proc/sysrq-trigger"}

// The majors of character devices that machines open (Documentation/admin-guide/devices.txt): of
// these, only some minors of mem and misc; tty is the process's own terminal, and 136 to 143 are
// those of pseudo terminals.
const (
	majorMem, majorTTY, majorMisc = 1, 5, 10
	firstPTS, lastPTS             = 136, 143
	minorTun, minorFuse           = 200, 229
)

// devices are the rules of a machine's device cgroup: pseudo devices are opened, no others; nodes
// of all may be made, as images have them. The rules deny, device by device: on cgroup v1 a cgroup
// below one that allows only some devices cannot allow all, as privileged containers do.
func devices() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}, {Type: "b", Access: "rw"}}
	deny := func(major int64, minor *int64) {
		rules = append(rules, specs.LinuxDeviceCgroup{Type: "c", Major: &major, Minor: minor, Access: "rw"})
	}
	for major := int64(0); major < 512; major++ { // the kernel's CHRDEV_MAJOR_MAX
		switch {
		case major == majorTTY || firstPTS <= major && major <= lastPTS:
		case major == majorMem:
			for _, minor := range []int64{1, 2, 4} { // mem, kmem, port
				deny(major, &minor)
			}
		case major == majorMisc:
			for minor := int64(0); minor < 256; minor++ {
				if minor != minorTun && minor != minorFuse {
					deny(major, &minor)
				}
			}
		default:
			deny(major, nil)
		}
	}
	return rules
}
