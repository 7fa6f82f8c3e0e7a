// Package guest is netlab inside a virtual machine of provider libvirt: its PID 1, which applies the
// NoCloud seed in place of cloud-init, and the SSH server for the provider. Python, and an sshd
// process for each command, would take most of an emulated machine's CPU time. In a machine with a
// cloud image it is run by that image's cloud-init (Install), and PID 1, SSH and the network are
// the image's.
package guest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/providers/libvirt/seed"
	"netlab.dev/netlab/providers/pid1"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// Verb is netlab's argument that starts it as PID 1, or, followed by SSH, as the SSH server.
const (
	Verb = "guest"
	SSH  = "ssh"
)

// Emulated is a word on the kernel's command line. Each service then gets at most one processor: on
// several emulated ones, Go programs spend more time on waking threads than on work.
const Emulated = "netlab.emulated"

// Ready is the last line on the console of a boot.
const Ready = "netlab: the machine is ready"

const self = "/usr/local/bin/netlab"

// instanceFile has the instance id of the seed whose files were written.
const instanceFile = "/var/lib/netlab/instance-id"

// Main runs a part of the guest and returns its exit status.
func Main(args []string, stderr io.Writer) int {
	var err error
	switch {
	case slices.Equal(args, []string{SSH}):
		err = serve(stderr)
	case slices.Equal(args, []string{Install}):
		err = install(stderr)
	case len(args) == 2 && args[0] == asService:
		err = service(args[1])
	case len(args) > 0:
		err = fmt.Errorf("unknown part %q", args)
	case os.Getpid() != 1:
		err = errors.New("runs only as PID 1 of a virtual machine")
	default:
		err = boot(stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "error: netlab guest:", err)
		if os.Getpid() == 1 {
			unix.Sync()
			unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
		return 1
	}
	return 0
}

// boot boots the machine from the mounted root disk. It reports its progress on the console.
func boot(console io.Writer) error {
	say := func(what string) { fmt.Fprintln(console, "netlab: "+what) }
	if err := mounts(); err != nil {
		return err
	}
	if err := grow("/dev/vda", "/"); err != nil {
		say(err.Error()) // not fatal: the disk is only smaller
	}
	s, err := findSeed()
	if err != nil {
		return err
	}
	say("seed of " + s.Meta.InstanceID)
	if err := apply(s); err != nil {
		return err
	}
	// There is no udev: modules that are not loaded on demand are loaded here.
	if out, err := exec.Command("modprobe", "-a", "overlay", "br_netfilter").CombinedOutput(); err != nil {
		return fmt.Errorf("modprobe: %w: %s", err, out)
	}
	m, err := machine(s)
	if err != nil {
		return err
	}
	if err := fabric.Configure(m); err != nil {
		return err
	}
	say("network as planned")
	services, err := pid1.ReadServices()
	if err != nil {
		return err
	}
	words, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	if slices.Contains(strings.Fields(string(words)), Emulated) {
		for i := range services {
			services[i].Env = append(services[i].Env, "GOMAXPROCS=1")
		}
	}
	services = append(services, pid1.Service{Name: "ssh", Argv: []string{self, Verb, SSH}, Log: "/var/log/ssh.log"})
	fmt.Fprintln(console, Ready)
	if err := pid1.Supervise(console, services); err != nil {
		return err
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// mounts are the same as in a Node of namespaces. Stage 1 has mounted /dev, /proc and /sys.
func mounts() error {
	for _, m := range []struct {
		fs, at, options string
		flags           uintptr
	}{
		{"", "/", "", unix.MS_SHARED | unix.MS_REC}, // mounts of kubelet and CNI propagate to Pods
		{"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "/dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"mqueue", "/dev/mqueue", "", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
		{"tmpfs", "/run", "mode=755", unix.MS_NOSUID},
		{"tmpfs", "/tmp", "mode=1777", unix.MS_NOSUID},
		{"cgroup2", "/sys/fs/cgroup", "", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
		{"bpf", "/sys/fs/bpf", "mode=700", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	} {
		if m.fs != "" && !strings.HasPrefix(m.at, "/sys/") {
			if err := os.MkdirAll(m.at, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(m.fs, m.at, m.fs, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return pid1.DelegateCgroups()
}

// resizeFS is EXT4_IOC_RESIZE_FS of linux/ext4.h: _IOW('f', 16, __u64), a number of blocks.
const resizeFS = 0x40086610

// grow grows the file system that is mounted at a path to the size of its disk.
func grow(disk, at string) error {
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(disk), "size"))
	if err != nil {
		return err
	}
	sectors, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return err
	}
	blocks := make([]byte, 8)
	binary.NativeEndian.PutUint64(blocks, sectors*512/uint64(st.Bsize))
	root, err := os.Open(at)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := ioctl(int(root.Fd()), resizeFS, blocks); err != nil {
		return fmt.Errorf("grow the file system at %s: %w", at, err)
	}
	return nil
}

// findSeed searches all disks for the seed.
func findSeed() (seed.Seed, error) {
	disks, _ := filepath.Glob("/sys/block/*")
	var errs error
	for _, d := range disks {
		f, err := os.Open(filepath.Join("/dev", filepath.Base(d)))
		if err != nil {
			continue
		}
		s, err := seed.Read(f)
		f.Close()
		if err == nil {
			return s, nil
		}
		errs = errors.Join(errs, fmt.Errorf("%s: %w", filepath.Base(d), err))
	}
	return seed.Seed{}, fmt.Errorf("seed not found on any disk: %w", errs)
}

// apply writes a seed's files, once.
func apply(s seed.Seed) error {
	if err := unix.Sethostname([]byte(s.Meta.Hostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if was, err := os.ReadFile(instanceFile); err == nil && string(was) == s.Meta.InstanceID {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range s.User.WriteFiles {
		mode, err := strconv.ParseUint(f.Permissions, 8, 32)
		if err != nil {
			return fmt.Errorf("permissions of %s: %w", f.Path, err)
		}
		data, err := f.Data()
		if err != nil {
			return fmt.Errorf("content of %s: %w", f.Path, err)
		}
		if err := write(f.Path, data, fs.FileMode(mode)); err != nil {
			return err
		}
	}
	for _, a := range s.User.Users {
		if a.Name != "root" {
			return fmt.Errorf("user %s: only root is supported", a.Name)
		}
		if err := write(authorizedKeys, []byte(strings.Join(a.AuthorizedKeys, "\n")+"\n"), 0o600); err != nil {
			return err
		}
	}
	if err := write(hostKey, []byte(s.User.SSHKeys["ed25519_private"]), 0o600); err != nil {
		return err
	}
	return write(instanceFile, []byte(s.Meta.InstanceID), 0o644)
}

func write(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// machine converts a seed's network-config back to the NICs of the plan.
func machine(s seed.Seed) (topology.Machine, error) {
	m := topology.Machine{Name: s.Meta.Hostname, Kind: topology.KindNode, OwnKernel: true, Forward: true}
	var errs error
	for name, e := range s.Network.Ethernets {
		nic := topology.NIC{Name: name, MAC: e.Match.MAC, MTU: e.MTU}
		if len(e.Addresses) == 0 {
			errs = errors.Join(errs, fmt.Errorf("%s has no address", name))
			continue
		}
		for _, text := range e.Addresses {
			a, err := netip.ParsePrefix(text)
			errs = errors.Join(errs, err)
			nic.Addresses = append(nic.Addresses, a)
		}
		for _, r := range e.Routes {
			to, err1 := netip.ParsePrefix(r.To)
			via, err2 := netip.ParseAddr(r.Via)
			errs = errors.Join(errs, err1, err2)
			m.Routes = append(m.Routes, topology.Route{To: to, Via: via})
		}
		m.NICs = append(m.NICs, nic)
	}
	if errs != nil {
		return m, fmt.Errorf("network-config: %w", errs)
	}
	return m, nil
}

// lines reads the lines of a file without comments.
func lines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []string
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		if l := strings.TrimSpace(scan.Text()); l != "" && !strings.HasPrefix(l, "#") {
			all = append(all, l)
		}
	}
	return all, scan.Err()
}
