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

// How long a service and the containers may take to end by themselves. etcd needs a
// moment to write all down; a shell as PID 1 of its container never ends by itself.
const (
	serviceLimit   = 5 * time.Second
	containerLimit = 4 * time.Second
)

// shutDown ends the services in reverse order: kubelet first, which would start containers
// again. Before the first of them, which the others come after, the containers end; it
// could not clear up behind them once it has ended itself. What takes too long is killed.
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

// end asks the listed processes to end, and kills those that are still there at the limit,
// which it tells of.
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
				fmt.Fprintf(log, "%s %.80q does not end within %s\n", time.Now().Format(time.RFC3339), strings.ReplaceAll(string(args), "\x00", " "), limit)
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// containers lists the first process of each container: PID 1 of a pid namespace below
// the Node's own. With it the namespace ends. One that shares the Node's pid namespace ends
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

// living gives the process back, or none when it has ended.
func living(pid int) []int {
	if !procfs.Alive(pid) {
		return nil
	}
	return []int{pid}
}
