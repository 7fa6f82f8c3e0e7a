package local

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
)

// Machine is a running Node or outside host. It implements providers.Machine.
type Machine struct {
	Lab    labs.Name
	Name   string
	PID    int // its PID 1 on this machine
	Node   bool
	LogDir string
}

// Command enters all of the machine's namespaces. The program has the machine's environment
// and, of the caller's, only TERM and LANG.
func (m Machine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	enter := []string{"--target=" + strconv.Itoa(m.PID), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"}
	env := []string{envPath, envHome}
	if m.Node {
		env = append(env, "KUBECONFIG=/etc/kubernetes/admin.conf")
	}
	for _, name := range []string{"TERM", "LANG"} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, argv...)...)
	cmd.Env = append(env, LabelKey+"="+m.Lab.Label())
	// nsenter forks into a pid namespace: killing the process group kills the program too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Dial connects to a unix socket in the machine's file system, which requires no network access.
// The path is resolved as in the machine: a link in it leads to no socket of this machine. The
// address is short whatever the path: sockaddr_un holds 107 bytes.
func (m Machine) Dial(ctx context.Context, path string) (net.Conn, error) {
	root, err := os.Open(fmt.Sprintf("/proc/%d/root", m.PID))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	socket, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &fs.PathError{Op: "connect", Path: path, Err: err}
	}
	defer unix.Close(socket)
	var d net.Dialer
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", socket))
}

// Logs is the machine's log directory.
func (m Machine) Logs() string { return m.LogDir }
