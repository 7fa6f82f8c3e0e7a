package local

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology/fabric"
)

// Machine is a Node or an outside host that runs. It implements providers.Machine.
type Machine struct {
	Lab    labs.Name
	Name   string
	PID    int // a Node's PID 1 on this machine; 0 for an outside host
	LogDir string
	Self   string // the netlab executable, first on an outside host's PATH
}

// Command enters a Node with all of its namespaces, and an outside host with its
// network namespace alone.
func (m Machine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	enter := []string{"--net=" + fabric.Path(m.Lab, m.Name), "--"}
	env := append(os.Environ(), "PATH="+filepath.Dir(m.Self)+":"+os.Getenv("PATH"))
	if m.PID != 0 {
		enter = []string{"--target=" + strconv.Itoa(m.PID), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"}
		env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
			"TERM=" + os.Getenv("TERM"), "KUBECONFIG=/etc/kubernetes/admin.conf"}
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, argv...)...)
	cmd.Env = append(env, LabelKey+"="+m.Lab.Label())
	// nsenter forks into a pid namespace: ending the group ends the program too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Dial connects to a unix socket in the machine's file system. For a Node that is
// /proc/<pid>/root, which crosses no network namespace.
func (m Machine) Dial(ctx context.Context, path string) (net.Conn, error) {
	if m.PID != 0 {
		path = fmt.Sprintf("/proc/%d/root%s", m.PID, path)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// Logs is the machine's log directory.
func (m Machine) Logs() string { return m.LogDir }
