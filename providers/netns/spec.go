package netns

import (
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology/fabric"
)

// selfInNode is where a Node finds the netlab executable.
const selfInNode = "/usr/local/bin/netlab"

// spec writes down a Node as an OCI runtime bundle (opencontainers/runtime-spec): its
// own pid, ipc, uts, mount and cgroup namespaces, the network namespace that the
// fabric made, and every capability that netlab itself has, since what runs inside
// are container runtimes.
func (n node) spec(artifacts components.Artifacts) *specs.Spec {
	caps := local.Capabilities()
	bind := func(source, target string, options ...string) specs.Mount {
		return specs.Mount{Type: "bind", Source: source, Destination: target, Options: append([]string{"rbind"}, options...)}
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: n.path("rootfs")},
		Process: &specs.Process{
			Args: []string{selfInNode, "init"},
			Cwd:  "/",
			Env: []string{
				"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				"HOME=/root", "container=netlab", local.LabelKey + "=" + n.lab.Label(),
			},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Hostname: n.machine.Name,
		Mounts: []specs.Mount{
			{Type: "proc", Source: "proc", Destination: "/proc"},
			{Type: "tmpfs", Source: "tmpfs", Destination: "/dev", Options: []string{"nosuid", "mode=755"}},
			{Type: "devpts", Source: "devpts", Destination: "/dev/pts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Type: "tmpfs", Source: "shm", Destination: "/dev/shm", Options: []string{"nosuid", "nodev", "mode=1777"}},
			{Type: "mqueue", Source: "mqueue", Destination: "/dev/mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Type: "sysfs", Source: "sysfs", Destination: "/sys", Options: []string{"nosuid", "noexec", "nodev"}},
			{Type: "cgroup", Source: "cgroup", Destination: "/sys/fs/cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime"}},
			{Type: "tmpfs", Source: "tmpfs", Destination: "/run", Options: []string{"nosuid", "mode=755"}},
			{Type: "tmpfs", Source: "tmpfs", Destination: "/tmp", Options: []string{"nosuid", "mode=1777"}},
			// Container runtimes stack an overlay on these: they must not lie on one.
			bind(n.path("containerd"), "/var/lib/containerd"),
			bind(n.path("kubelet"), "/var/lib/kubelet"),
			bind(n.logs, "/var/log"),
			bind(artifacts.Self, selfInNode, "ro"),
		},
		Linux: &specs.Linux{
			CgroupsPath:       local.CgroupOf(n.lab, n.machine.Name),
			RootfsPropagation: "rshared", // kubelet's and the CNI's mounts reach the Pods
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
				{Type: specs.NetworkNamespace, Path: fabric.Path(n.lab, n.machine.Name)},
			},
			Devices: []specs.LinuxDevice{
				{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11}, // kubelet reads it for OOM kills
				{Path: "/dev/net/tun", Type: "c", Major: 10, Minor: 200},
				{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229},
			},
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
		},
	}
	for _, path := range slices.Sorted(maps.Keys(artifacts.Caches)) {
		spec.Mounts = append(spec.Mounts, bind(artifacts.Caches[path], path))
	}
	// What is pinned in it goes with the Node.
	if local.KernelMounts("bpf") {
		spec.Mounts = append(spec.Mounts, specs.Mount{Type: "bpf", Source: "bpf", Destination: "/sys/fs/bpf",
			Options: []string{"nosuid", "nodev", "noexec", "mode=700"}})
	}
	return spec
}
