package local

import (
	"fmt"
	"runtime"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"netlab.dev/netlab/providers/pid1"
	"netlab.dev/netlab/topology/fabric"
)

// selfInside is the path of the netlab executable in a container.
const selfInside = "/usr/local/bin/netlab"

// path and home are the environment of programs in a machine.
const (
	envPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	envHome = "HOME=/root"
)

// Bind is a bind mount of a directory or file of this machine.
func Bind(source, target string, options ...string) specs.Mount {
	return specs.Mount{Type: "bind", Source: source, Destination: target, Options: append([]string{"rbind"}, options...)}
}

// Spec returns the configuration of the container as an OCI runtime bundle (opencontainers/runtime-spec):
// pid, ipc, uts, mount and cgroup namespaces, the network namespace of the
// fabric, and a Node's capabilities. Its PID 1 is the netlab executable self, which is read-only in
// it.
func (c Container) Spec(self string) *specs.Spec {
	caps := nodeCapabilities()
	return &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: c.Path("rootfs")},
		Process: &specs.Process{
			Args:         []string{selfInside, "init"},
			Cwd:          "/",
			Env:          []string{envPath, envHome, "container=netlab", LabelKey + "=" + c.Lab.Label()},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Hostname: c.Name,
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
			Bind(c.Logs, "/var/log"),
			Bind(self, selfInside, "ro"),
		},
		Linux: &specs.Linux{
			CgroupsPath: CgroupOf(c.Lab, c.Name),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
				{Type: specs.NetworkNamespace, Path: fabric.Path(c.Lab, c.Name)},
			},
			Devices:     []specs.LinuxDevice{{Path: "/dev/net/tun", Type: "c", Major: majorMisc, Minor: minorTun}},
			Resources:   &specs.LinuxResources{Devices: devices()},
			MaskedPaths: maskedPaths,
			Seccomp:     callsOf(runtime.GOARCH),
		},
	}
}

// hostSpec is the spec of an outside host: its PID 1 keeps the capabilities of a host, and more that
// its services need, once the host is prepared, and no program in it gains others.
func (c Container) hostSpec(self string, more []string) *specs.Spec {
	spec := c.Spec(self)
	spec.Process.Args = append(spec.Process.Args, fmt.Sprintf("%s%x", pid1.Bounding, mask(slices.Concat(hostCapabilities, more))))
	spec.Process.NoNewPrivileges = true
	return spec
}
