package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/providers/libvirt/seed"
	"netlab.dev/netlab/providers/pid1"
	"netlab.dev/netlab/topology/fabric"
)

// What a cloud image's cloud-init runs once, from the second disk; and what systemd runs there as
// each service, followed by its name.
const (
	Install   = "install"
	asService = "service"
)

// ReadyFile exists once a machine with a cloud image is a Node; it stays, as cloud-init runs the
// installation at the first boot only. FailedFile has the error of a failed installation.
const (
	ReadyFile  = "/var/lib/netlab/ready"
	FailedFile = "/var/lib/netlab/failed"
)

// Beside is the mount point of the second disk of a machine with a cloud image, which is netlab's:
// the node image with its programs, and a containerd root with the lab's images.
const Beside = seed.Beside

// borrowed are programs of the second disk that a cloud image may lack. They run in a chroot to that
// disk.
var borrowed = []string{"arping", "conntrack", "curl", "drill", "ethtool", "ip", "ip6tables", "ip6tables-restore", "ip6tables-save",
	"iperf3", "ipset", "iptables", "iptables-restore", "iptables-save", "nft", "ping", "socat", "tcpdump"}

// modules are kernel modules that are not loaded on demand.
var modules = []string{"overlay", "br_netfilter"}

// installation turns a machine that has booted a cloud image into a Node. root is the prefix of all
// paths; run runs a program.
type installation struct {
	root string
	run  func(argv ...string) error
	say  func(string)
}

// install is Install; it reports its result on the console and in a file.
func install(stderr io.Writer) error {
	in := installation{run: run, say: func(what string) { fmt.Fprintln(stderr, "netlab: "+what) }}
	if console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0); err == nil {
		defer console.Close()
		in.say = func(what string) { fmt.Fprintln(console, "netlab: "+what) }
	}
	s, err := findSeed()
	if err == nil {
		err = in.all(s)
	}
	if err != nil {
		in.say(err.Error())
		return errors.Join(err, write(FailedFile, []byte(err.Error()+"\n"), 0o644))
	}
	in.say(strings.TrimPrefix(Ready, "netlab: "))
	return nil
}

func run(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (in installation) all(s seed.Seed) error {
	if err := in.requirements(); err != nil {
		return err
	}
	m, err := machine(s)
	if err != nil {
		return err
	}
	services, err := pid1.ReadServices()
	if err != nil {
		return fmt.Errorf("cloud-init did not write the services file: %w", err)
	}
	if device, err := deviceOf(Beside); err != nil {
		return err
	} else if err := grow(device, Beside); err != nil {
		in.say(err.Error()) // not fatal: the disk is only smaller
	}
	if err := in.files(fabric.SysctlConf(m), services); err != nil {
		return err
	}
	if err := in.links(); err != nil {
		return err
	}
	if text, _ := os.ReadFile("/sys/fs/selinux/enforce"); string(text) == "1" {
		in.say("SELinux set to permissive: it has no labels for netlab's disk")
		if err := os.WriteFile("/sys/fs/selinux/enforce", []byte("0"), 0); err != nil {
			return err
		}
	}
	names := []string{}
	for _, s := range services {
		names = append(names, s.Name)
	}
	for _, argv := range [][]string{
		{"mount", "-a"}, {"systemctl", "daemon-reload"}, {"systemctl", "restart", "systemd-sysctl"},
		slices.Concat([]string{"systemctl", "enable", "--quiet"}, names), slices.Concat([]string{"systemctl", "restart", "--no-block"}, names),
	} {
		if err := in.run(argv...); err != nil {
			return err
		}
	}
	return in.write(ReadyFile, nil, 0o644)
}

// requirements returns the requirements of a Node that the image does not meet.
func (in installation) requirements() (errs error) {
	lacks := func(format string, args ...any) { errs = errors.Join(errs, fmt.Errorf("the image "+format, args...)) }
	if _, err := os.Stat(in.root + "/run/systemd/system"); err != nil {
		lacks("does not run systemd")
	}
	if _, err := os.Stat(in.root + "/sys/fs/cgroup/cgroup.controllers"); err != nil {
		lacks("has cgroup v1, and kubelet requires v2")
	}
	for _, program := range []string{"mount", "modprobe", "systemctl", "chroot"} {
		if !in.has(program) {
			lacks("has no %s", program)
		}
	}
	if errs != nil {
		return errs
	}
	for _, module := range modules {
		if err := in.run("modprobe", module); err != nil {
			lacks("has a kernel without module %s: %w", module, err)
		}
	}
	return errs
}

var path = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// has reports whether the image itself has a program.
func (in installation) has(program string) bool {
	return slices.ContainsFunc(path, func(dir string) bool {
		_, err := os.Stat(filepath.Join(in.root, dir, program))
		return err == nil
	})
}

func (in installation) write(path string, data []byte, mode fs.FileMode) error {
	return write(in.root+path, data, mode)
}

// mounted are lines of fstab: containerd's images stay on the second disk, and programs in its chroot
// have the mounts they require.
var mounted = []string{
	"LABEL=" + seed.BesideLabel + " " + Beside + " ext4 defaults 0 0",
	Beside + "/var/lib/containerd /var/lib/containerd none bind 0 0",
	"/proc " + Beside + "/proc none bind,private 0 0",
	"/dev " + Beside + "/dev none bind,private 0 0",
	"/sys " + Beside + "/sys none bind,private 0 0",
}

// files writes the configuration for the image's systemd and networkd.
func (in installation) files(sysctls string, services []pid1.Service) error {
	table, err := os.ReadFile(in.root + "/etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := strings.TrimRight(string(table), "\n") + "\n"
	for _, line := range mounted {
		if !strings.Contains(text, line+"\n") {
			text += line + "\n"
		}
	}
	config, err := os.ReadFile(in.root + Beside + "/etc/containerd/config.toml")
	if err != nil {
		return err
	}
	// It may be a link to the file of systemd-resolved, which points to itself.
	names, err := os.ReadFile(in.root + seed.ResolvConf)
	if err != nil {
		return err
	}
	if err := os.Remove(in.root + "/etc/resolv.conf"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all := map[string]string{
		"/etc/fstab":                               text,
		"/etc/resolv.conf":                         string(names),
		"/etc/containerd/config.toml":              string(config),
		"/etc/modules-load.d/netlab.conf":          strings.Join(modules, "\n") + "\n",
		"/etc/sysctl.d/99-netlab.conf":             sysctls,
		"/etc/systemd/network/10-netlab.link":      "# A CNI's links keep the addresses that it gives them.\n[Match]\nOriginalName=flannel* cni* veth* cali* vxlan.calico lxc* cilium*\n\n[Link]\nMACAddressPolicy=none\n",
		"/etc/systemd/networkd.conf.d/netlab.conf": "# A CNI's routes are not networkd's.\n[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n",
	}
	for _, s := range services {
		all["/etc/systemd/system/"+s.Name+".service"] = unit(s)
	}
	for path, text := range all {
		if err := in.write(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/var/lib/containerd", "/var/lib/kubelet", "/etc/cni/net.d", "/etc/kubernetes/manifests"} {
		if err := os.MkdirAll(in.root+dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// unit is a service as a systemd unit. Pods outlive containerd and kubelet.
func unit(s pid1.Service) string {
	var env strings.Builder
	for _, e := range s.Env {
		fmt.Fprintf(&env, "Environment=%q\n", e)
	}
	return fmt.Sprintf(`[Unit]
Description=%[1]s, by netlab
RequiresMountsFor=/var/lib/containerd
After=network.target

[Service]
ExecStart=%[2]s %[3]s %[4]s %[1]s
%[5]sRestart=always
RestartSec=1
Delegate=yes
KillMode=process
OOMScoreAdjust=-999
LimitNOFILE=infinity
LimitNPROC=infinity
TasksMax=infinity
StandardOutput=append:%[6]s
StandardError=append:%[6]s

[Install]
WantedBy=multi-user.target
`, s.Name, self, Verb, asService, env.String(), s.Log)
}

// links makes programs of the second disk available in the image: statically linked ones by symbolic
// links, others by wrappers if the image lacks them.
func (in installation) links() error {
	link := func(target, at string) error {
		at = in.root + at
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Symlink(target, at)
	}
	if err := link(Beside+"/usr/lib/netlab", "/usr/lib/netlab"); err != nil {
		return err
	}
	for _, name := range []string{"kubeadm", "kubectl", "kubelet"} {
		if err := link("/usr/lib/netlab/kube", "/usr/local/bin/"+name); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/usr/local/bin", "/opt/cni/bin"} {
		entries, err := os.ReadDir(in.root + Beside + dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := link(Beside+dir+"/"+e.Name(), dir+"/"+e.Name()); err != nil {
				return err
			}
		}
	}
	there := installation{root: in.root + Beside}
	for _, name := range borrowed {
		if in.has(name) || !there.has(name) {
			continue
		}
		script := fmt.Sprintf("#!/bin/sh\n# Not in the image: provided by netlab.\nexec chroot %s %s \"$@\"\n", Beside, name)
		if err := in.write("/usr/local/bin/"+name, []byte(script), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// deviceOf returns the disk that is mounted at a path.
func deviceOf(at string) (string, error) {
	mounts, err := lines("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for _, l := range mounts {
		if f := strings.Fields(l); len(f) > 1 && f[1] == at {
			return f[0], nil
		}
	}
	return "", fmt.Errorf("nothing is mounted at %s", at)
}

// service waits for what a service waits for and then executes it.
func service(name string) error {
	services, err := pid1.ReadServices()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(services, func(s pid1.Service) bool { return s.Name == name })
	if i < 0 {
		return fmt.Errorf("service %q not found", name)
	}
	s := services[i]
	if _, err := os.Stat(s.Argv[0]); err != nil {
		s.Argv[0] = "/usr/local/bin/" + filepath.Base(s.Argv[0])
	}
	// See Emulated.
	if out, _ := exec.Command("systemd-detect-virt").Output(); strings.TrimSpace(string(out)) == "qemu" {
		s.Env = append(s.Env, "GOMAXPROCS=1")
	}
	return s.Become()
}
