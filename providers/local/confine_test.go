package local

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/pid1"
)

func testContainer(t *testing.T) Container {
	return Container{Lab: labs.MustName("lab"), Name: "w1", Dir: t.TempDir()}
}

// A Node has what kubelet, CNIs and privileged Pods use, and not what reaches beyond it.
func TestConfinedNode(t *testing.T) {
	s := testContainer(t).Spec("/self")
	for _, set := range [][]string{s.Process.Capabilities.Bounding, s.Process.Capabilities.Effective, s.Process.Capabilities.Permitted} {
		for _, c := range []string{"CAP_SYS_TIME", "CAP_SYS_RAWIO"} {
			if slices.Contains(set, c) {
				t.Errorf("a Node has %s", c)
			}
		}
	}
	if !slices.Contains(s.Linux.MaskedPaths, "/proc/sysrq-trigger") || !slices.Contains(s.Linux.MaskedPaths, "/proc/kcore") {
		t.Errorf("masked are %v", s.Linux.MaskedPaths)
	}
	if s.Process.NoNewPrivileges {
		t.Error("programs of a Node gain no privileges: set-user-id programs of Pods would fail")
	}
	var names []string
	if s.Linux.Seccomp != nil {
		names = s.Linux.Seccomp.Syscalls[0].Names
		if s.Linux.Seccomp.DefaultAction != specs.ActAllow || s.Linux.Seccomp.Syscalls[0].Action != specs.ActErrno {
			t.Errorf("the filter is %+v", s.Linux.Seccomp)
		}
	}
	if modules := slices.Contains(s.Process.Capabilities.Bounding, "CAP_SYS_MODULE"); modules && !slices.Contains(names, "finit_module") {
		t.Error("a Node may load modules")
	}
	if callsOf("mips") != nil {
		t.Error("a filter for an architecture whose system calls are not known kills its programs")
	}
}

// opens evaluates the rules of a device cgroup as the kernel does: all is allowed but what a rule
// denies.
func opens(rules []specs.LinuxDeviceCgroup, kind string, major, minor int64, access string) bool {
	is := func(p *int64, n int64) bool { return p == nil || *p == n }
	for _, r := range rules[1:] {
		if r.Type == kind && is(r.Major, major) && is(r.Minor, minor) && strings.ContainsAny(r.Access, access) {
			return false
		}
	}
	return true
}

func TestDevices(t *testing.T) {
	rules := devices()
	if !rules[0].Allow || rules[0].Type != "" {
		t.Fatalf("the first rule is %+v: on cgroup v1 privileged Pods would not start", rules[0])
	}
	for what, d := range map[string]struct {
		kind         string
		major, minor int64
		want         bool
	}{
		"null": {"c", 1, 3, true}, "urandom": {"c", 1, 9, true}, "kmsg": {"c", 1, 11, true}, "tty": {"c", 5, 0, true}, "ptmx": {"c", 5, 2, true},
		"pts": {"c", 136, 4, true}, "tun": {"c", 10, 200, true}, "fuse": {"c", 10, 229, true},
		"mem": {"c", 1, 1, false}, "port": {"c", 1, 4, false}, "console of the machine": {"c", 4, 0, false}, "watchdog": {"c", 10, 130, false}, "kvm": {"c", 10, 232, false},
		"scsi generic": {"c", 21, 0, false}, "msr": {"c", 202, 0, false}, "disk": {"b", 8, 0, false}, "virtio disk": {"b", 254, 0, false}, "loop": {"b", 7, 0, false},
	} {
		if opens(rules, d.kind, d.major, d.minor, "rw") != d.want {
			t.Errorf("%s is opened: %t, want %t", what, !d.want, d.want)
		}
		if !opens(rules, d.kind, d.major, d.minor, "m") {
			t.Errorf("a node of %s cannot be made: images have them", what)
		}
	}
	if data, err := json.Marshal(rules); err != nil || strings.Count(string(data), "major") < 256 {
		t.Errorf("%s (%v)", data, err)
	}
}

// An outside host's programs have the capabilities of a host and gain no others; PID 1 drops the
// rest once it has prepared the host.
func TestConfinedHost(t *testing.T) {
	s := newScene(t, "nlt-l-confined", nil)
	s.start()
	mine, _ := strconv.ParseUint(status(t, "/proc/self", "CapBnd"), 16, 64)
	want := fmt.Sprintf("%016x", mask(hostCapabilities)&mine)
	for name, pid := range s.pids() {
		processes := []string{fmt.Sprintf("/proc/%d", pid)}
		for _, service := range s.services(name) { // as the host counts them
			processes = append(processes, fmt.Sprintf("/proc/%d/root/proc/%d", pid, service))
		}
		if len(processes) < 2 {
			t.Errorf("%s has no services", name)
		}
		for _, process := range processes {
			for _, set := range []string{"CapBnd", "CapPrm", "CapEff"} {
				if is := status(t, process, set); is != want {
					t.Errorf("%s of %s of %s is %s, want %s", set, process, name, is, want)
				}
			}
		}
	}
	spec := testContainer(t).hostSpec("/self", nil)
	if !spec.Process.NoNewPrivileges || !slices.ContainsFunc(spec.Process.Args, func(a string) bool { return strings.HasPrefix(a, pid1.Bounding) }) {
		t.Errorf("a host's process is %+v", spec.Process)
	}
	more := testContainer(t).hostSpec("/self", []string{"CAP_SYS_ADMIN"}).Process.Args
	if want := fmt.Sprintf("%s%x", pid1.Bounding, mask(hostCapabilities)|mask([]string{"CAP_SYS_ADMIN"})); more[len(more)-1] != want {
		t.Errorf("with CAP_SYS_ADMIN PID 1 is started with %v, want %s", more, want)
	}
	if set := mask([]string{"CAP_NET_ADMIN", "CAP_NET_RAW"}); mine&(3<<12) == 3<<12 && set != 3<<12 {
		t.Errorf("bits 12 and 13 of <linux/capability.h> are %x", set)
	}
}

// status is a field of the status of a process, by its directory in a /proc.
func status(t *testing.T, process, field string) string {
	t.Helper()
	for line := range strings.Lines(mustRead(t, process+"/status")) {
		if value, found := strings.CutPrefix(line, field+":"); found {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("%s has no %s", process, field)
	return ""
}
