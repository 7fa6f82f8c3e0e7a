package pid1

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/procfs"
)

// How long a service and the containers have to exit after SIGTERM. etcd takes a moment to write
// its data; a shell as PID 1 of its container ignores SIGTERM.
const (
	serviceLimit   = 5 * time.Second
	containerLimit = 4 * time.Second
)

// shutDown stops the services in reverse order: kubelet first, which would restart containers. The
// containers are stopped before the first service, in a Node containerd, which still has to clean
// up after them. Processes that exceed their time limit are killed.
func (s *supervisor) shutDown() {
	for i := len(s.order) - 1; i >= 0; i-- {
		if i == 0 {
			end(s.log, containerLimit, containers)
		}
		if u := s.units[s.order[i]]; u != nil && u.pid != 0 {
			end(s.log, serviceLimit, func() []int { return living(u.pid) })
		}
	}
}

// end sends SIGTERM to the listed processes, and kills and logs those that are still running at the
// limit.
func end(log io.Writer, limit time.Duration, list func() []int) {
	for _, pid := range list() {
		unix.Kill(pid, unix.SIGTERM)
	}
	killed := false
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		left := list()
		if len(left) == 0 || killed && time.Now().After(deadline.Add(time.Second)) {
			return
		}
		if !killed && time.Now().After(deadline) {
			killed = true
			for _, pid := range left {
				args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				fmt.Fprintf(log, "%s %.80q did not exit within %s\n", time.Now().Format(time.RFC3339), strings.ReplaceAll(string(args), "\x00", " "), limit)
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// containers lists the first process of each container: PID 1 of a pid namespace below
// the Node's own. The namespace ends with it. A container in the Node's pid namespace ends
// with the Node.
func containers() []int {
	all, _ := filepath.Glob("/proc/[0-9]*/status")
	var pids []int
	for _, file := range all {
		data, _ := os.ReadFile(file)
		for line := range strings.Lines(string(data)) {
			// NSpid lists the process's ids from this namespace to its own (proc_pid_status(5)).
			ids, found := strings.CutPrefix(line, "NSpid:")
			if f := strings.Fields(ids); found && len(f) > 1 && f[len(f)-1] == "1" {
				pid, _ := strconv.Atoi(f[0])
				pids = append(pids, living(pid)...)
			}
		}
	}
	return pids
}

// living returns the process, or none if it has exited.
func living(pid int) []int {
	if !procfs.Alive(pid) {
		return nil
	}
	return []int{pid}
}
