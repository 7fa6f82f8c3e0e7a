package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/providers/pid1"
)

// Tests of hosts run on a separate machine: TestMain starts the test program again in new
// network, mount and pid namespaces. That program also stands for runc and for netlab in the
// hosts' file system.
const inScratch = "NETLAB_LOCAL_TEST"

func TestMain(m *testing.M) {
	if role := roleOf(os.Args); role != nil {
		if err := role(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Geteuid() != 0 || os.Getenv(inScratch) != "" {
		if os.Getenv(inScratch) != "" {
			if err := scratch(); err != nil {
				fmt.Fprintln(os.Stderr, "scratch machine:", err)
				os.Exit(2)
			}
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inScratch+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func scratch() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, m := range []struct{ kind, on string }{{"proc", "/proc"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.on, m.kind, 0, ""); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// roleOf returns what the test program is run as, nil for a test.
func roleOf(args []string) func([]string) error {
	if len(args) < 2 {
		return nil
	}
	for role, do := range map[string]func([]string) error{"init": initAs, "agent": agentAs, "listen": listenAs, "fail": failAs, "about": aboutAs, "contained": containedAs, "hog": hogAs, "idle": idleAs} {
		if args[1] == role {
			return do
		}
	}
	if strings.HasPrefix(args[1], "--root=") {
		return runcAs
	}
	return nil
}

func initAs(args []string) error {
	os.Exit(pid1.Main(args[2:], os.Stderr))
	return nil
}

// agentAs accepts connections on the unix socket that is its last argument.
func agentAs(args []string) error {
	l, err := net.Listen("unix", args[len(args)-1])
	if err != nil {
		return err
	}
	return serve(l)
}

// listenAs binds a UDP port and listens on TCP: listen ADDRESS PORT.
func listenAs(args []string) error {
	at := net.JoinHostPort(args[2], args[3])
	packets, err := net.ListenPacket("udp4", at)
	if err != nil {
		return err
	}
	defer packets.Close() // referenced as long as it serves: an unreferenced one is closed by the garbage collector
	l, err := net.Listen("tcp4", at)
	if err != nil {
		return err
	}
	return serve(l)
}

func serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		c.Close()
	}
}

func failAs([]string) error {
	fmt.Println("this cannot start")
	os.Exit(3)
	return nil
}

// aboutAs says where it runs.
func aboutAs([]string) error {
	name, err := os.Hostname()
	hosts, _ := os.ReadFile("/etc/hosts")
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	json.NewEncoder(os.Stdout).Encode(about{name, os.Environ(), string(hosts), string(resolv)})
	return err
}

type about struct {
	Hostname      string
	Env           []string
	Hosts, Resolv string
}

// runcAs does of `runc run --detach` what a host needs: its cgroup, its namespaces, a pid file.
func runcAs(args []string) error {
	flags := map[string]string{}
	for _, a := range args[1:] {
		name, value, _ := strings.Cut(a, "=")
		flags[name] = value
	}
	var spec specs.Spec
	data, err := os.ReadFile(filepath.Join(flags["--bundle"], "config.json"))
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(flags["--root"], 0o755); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", "contained", flags["--bundle"])
	wait, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	became, becomes, err := os.Pipe() // closed by the exec: during it, the process looks like a zombie
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{becomes}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	runtime.LockOSThread()
	for _, ns := range spec.Linux.Namespaces {
		if ns.Path == "" {
			continue
		}
		f, err := os.Open(ns.Path)
		if err != nil {
			return err
		}
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.MkdirAll(testCgroup(spec.Linux.CgroupsPath), 0o755); err != nil {
		return err
	}
	pid := fmt.Append(nil, cmd.Process.Pid)
	if err := os.WriteFile(filepath.Join(testCgroup(spec.Linux.CgroupsPath), "cgroup.procs"), pid, 0o644); err != nil {
		return err
	}
	if err := errors.Join(wait.Close(), becomes.Close()); err != nil {
		return err
	}
	if _, err := io.ReadAll(became); err != nil {
		return err
	}
	return os.WriteFile(flags["--pid-file"], pid, 0o644)
}

// testCgroup is a cgroup's directory in a hierarchy that this machine has.
func testCgroup(path string) string {
	for _, hierarchy := range []string{"cpuacct", "cpu,cpuacct"} {
		if root := filepath.Join("/sys/fs/cgroup", hierarchy); exists(root) {
			return filepath.Join(root, path)
		}
	}
	return filepath.Join("/sys/fs/cgroup", path)
}

// containedAs becomes the process of the bundle, in its root.
func containedAs(args []string) error {
	io.ReadAll(os.Stdin)
	unix.CloseOnExec(3)
	var spec specs.Spec
	data, err := os.ReadFile(filepath.Join(args[2], "config.json"))
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	if err != nil {
		return err
	}
	for _, lib := range []string{"/lib", "/lib64", "/usr/lib"} { // where the test program is not static
		if exists(lib) {
			spec.Mounts = append(spec.Mounts, Bind(lib, lib))
		}
	}
	for _, m := range spec.Mounts {
		if err := mountIn(spec.Root.Path, m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	if err := unix.Mknod(filepath.Join(spec.Root.Path, "dev", "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return err // Go's runtime opens it
	}
	for _, err := range []error{unix.Sethostname([]byte(spec.Hostname)), unix.Chroot(spec.Root.Path), os.Chdir("/")} {
		if err != nil {
			return err
		}
	}
	return unix.Exec(spec.Process.Args[0], spec.Process.Args, spec.Process.Env)
}

func mountIn(root string, m specs.Mount) error {
	target := filepath.Join(root, m.Destination)
	info, err := os.Stat(m.Source)
	switch {
	case m.Type == "bind" && err == nil && !info.IsDir():
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, nil, 0o755); err != nil {
			return err
		}
	case m.Type == "bind" || m.Type == "proc" || m.Type == "tmpfs":
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
	default:
		return nil // no test looks at it
	}
	flags := uintptr(0)
	if m.Type == "bind" {
		flags = unix.MS_BIND | unix.MS_REC
	}
	return unix.Mount(m.Source, target, m.Type, flags, "")
}
