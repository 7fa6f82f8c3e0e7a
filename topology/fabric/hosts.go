package fabric

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// LabelEnv marks the processes of a lab that run outside containers.
const LabelEnv = "NETLAB_LAB"

// socketName and pidName are files in dir/hosts/<host>.
const (
	socketName = "agent.sock"
	pidName    = "agent.pid"
)

// agentStart bounds the wait for one agent's socket.
const agentStart = 10 * time.Second

// Software is what outside hosts run.
type Software struct {
	Self    string // the netlab executable
	Debian  string // root of a file system with iperf3; "": this machine's own
	HAProxy string // what a file system with haproxy has more than Debian; needed for a load balancer
}

// StartHosts runs an agent in the namespace of every outside host of the plan, as a
// process of its own session that outlives the caller: dir is the lab's state directory.
// An agent that runs already is left alone, unless it is another executable's, or the names
// that it serves or the servers that it balances have changed; agents of hosts that left the
// plan are ended. It returns once all the agents answer on dir/hosts/<host>/agent.sock.
func StartHosts(ctx context.Context, plan topology.Plan, dir string, with Software) error {
	hosts := plan.Hosts()
	if err := stopOthers(ctx, plan); err != nil {
		return err
	}
	errs := make([]error, len(hosts))
	done := make(chan struct{})
	for i, m := range hosts {
		go func() {
			if err := startHost(ctx, plan, m, dir, with); err != nil {
				errs[i] = fmt.Errorf("start host %s: %w", m.Name, err)
			}
			done <- struct{}{}
		}()
	}
	for range hosts {
		<-done
	}
	return errors.Join(errs...)
}

// StopHosts ends the agents of a lab, those also that their pid file does not name:
// processes labelled with the lab that run `agent serve`. Without hosts named it ends
// all of the lab's.
func StopHosts(ctx context.Context, lab labs.Name, hosts ...string) error {
	if err := lab.Check(); err != nil {
		return err
	}
	running, err := agents(lab)
	if len(hosts) > 0 {
		running = slices.DeleteFunc(running, func(p process) bool { return !slices.Contains(hosts, p.host) })
	}
	for _, p := range running {
		unix.Kill(p.pid, unix.SIGTERM)
	}
	kill := time.After(time.Second)
	for len(running) > 0 {
		running = slices.DeleteFunc(running, func(p process) bool { return !p.alive() })
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-kill:
			for _, p := range running {
				unix.Kill(p.pid, unix.SIGKILL)
			}
		case <-time.After(2 * time.Millisecond):
		}
	}
	return err
}

func stopOthers(ctx context.Context, plan topology.Plan) error {
	running, err := agents(plan.Lab)
	var left []string
	for _, p := range running {
		if m, ok := plan.Machine(p.host); !ok || m.Kind != topology.KindHost {
			left = append(left, p.host)
		}
	}
	if len(left) == 0 {
		return err
	}
	return errors.Join(err, StopHosts(ctx, plan.Lab, left...))
}

func startHost(ctx context.Context, plan topology.Plan, m topology.Machine, dir string, with Software) error {
	home := filepath.Join(dir, "hosts", m.Name)
	socket, pidFile := filepath.Join(home, socketName), filepath.Join(home, pidName)
	if len(socket) >= len(unix.RawSockaddrUnix{}.Path) {
		return hint.With(fmt.Errorf("socket path %s is too long for the kernel", socket), "choose a shorter NETLAB_STATE_DIR")
	}
	log := filepath.Join(dir, "logs", m.Name)
	for _, d := range []string{home, filepath.Dir(log)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	argv := []string{with.Self, "agent", "serve", "--name", m.Name, "--socket", socket, "--ip", m.Address().String()}
	if with.Debian != "" {
		argv = append(argv, "--debian", with.Debian)
	}
	changed, err := false, error(nil)
	switch m.Role {
	case topology.RoleInternet:
		names := filepath.Join(home, "names.json")
		changed, err = writeChanged(names, plan.Names)
		argv = append(argv, "--dns-file", names)
	case topology.RoleAPILB:
		servers := filepath.Join(home, "servers.json")
		changed, err = writeChanged(servers, apiServers(plan))
		argv = append(argv, "--haproxy", with.HAProxy, "--balance", plan.Kubernetes.API.String(), "--servers-file", servers)
	}
	if err == nil && changed {
		err = StopHosts(ctx, plan.Lab, m.Name)
	}
	if err != nil {
		return err
	}
	if HostRuns(plan.Lab, m.Name, dir) && executes(pidFile, with.Self) {
		return nil
	}
	if err := StopHosts(ctx, plan.Lab, m.Name); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(log+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	cmd.Env = append(os.Environ(), LabelEnv+"="+plan.Lab.Label())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := Enter(plan.Lab, m.Name, cmd.Start); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := writePid(pidFile, cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	limit := time.After(agentStart)
	for !answers(socket) {
		select {
		case err := <-ended:
			return hint.With(fmt.Errorf("%s ended at once: %v", strings.Join(argv, " "), err), "see "+log+".log")
		case <-limit:
			return hint.With(fmt.Errorf("%s does not answer on its socket after %s", strings.Join(argv, " "), agentStart), "see "+log+".log")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// HostRuns reports whether the host's agent that StartHosts started runs in the host's
// present namespace and answers.
func HostRuns(lab labs.Name, host, dir string) bool {
	if lab.Check() != nil {
		return false
	}
	home := filepath.Join(dir, "hosts", host)
	p, err := readPid(filepath.Join(home, pidName))
	return err == nil && p.alive() && p.inNamespace(Path(lab, host)) && answers(filepath.Join(home, socketName))
}

// HostPID gives the process of the host's agent that StartHosts started.
func HostPID(host, dir string) (int, error) {
	p, err := readPid(filepath.Join(dir, "hosts", host, pidName))
	if err != nil {
		return 0, fmt.Errorf("find the agent of host %s: %w", host, err)
	}
	return p.pid, nil
}

// executes reports whether the process that a file names runs an executable, by whatever
// path. Agents of unlike netlabs might not understand each other.
func executes(pidFile, path string) bool {
	p, err := readPid(pidFile)
	if err != nil {
		return false
	}
	runs, err1 := os.Stat(fmt.Sprintf("/proc/%d/exe", p.pid))
	wanted, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(runs, wanted)
}

func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// apiServers gives the API servers behind the load balancer, name → address and port.
func apiServers(plan topology.Plan) map[string]string {
	servers := map[string]string{}
	for _, m := range plan.WithRole(topology.RoleControlPlane) {
		servers[m.Name] = netip.AddrPortFrom(m.Address(), plan.Kubernetes.API.Port()).String()
	}
	return servers
}

// writeChanged reports whether the file held something else before; a new file is no change.
func writeChanged(path string, what map[string]string) (changed bool, err error) {
	if what == nil {
		what = map[string]string{}
	}
	data, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return false, err
	}
	was, err := os.ReadFile(path)
	if err == nil && string(was) == string(data) {
		return false, nil
	}
	return err == nil, atomicfile.Write(path, data, 0o644)
}

// process is one run of a process. Ids come round again; with the start time, in
// clock ticks since boot, it is told apart from a later process.
type process struct {
	pid   int
	start string
	host  string // whose agent it is, where that is known
}

func (p process) alive() bool {
	s, err := procfs.Read(p.pid)
	return err == nil && s.Start == p.start && !s.Ended()
}

func (p process) inNamespace(path string) bool {
	want, err := inode(path)
	if err != nil {
		return false
	}
	got, err := inode(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	return err == nil && got == want
}

func writePid(path string, pid int) error {
	s, err := procfs.Read(pid)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, fmt.Appendf(nil, "%d %s\n", pid, s.Start), 0o644)
}

func readPid(path string) (p process, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	_, err = fmt.Sscan(string(data), &p.pid, &p.start)
	return p, err
}

// agents finds the lab's agents by label and arguments.
func agents(lab labs.Name) ([]process, error) {
	if err := lab.Check(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), LabelEnv+"="+lab.Label()) {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		argv := strings.Split(string(cmdline), "\x00")
		if err != nil || len(argv) < 5 || !slices.Equal(argv[1:4], []string{"agent", "serve", "--name"}) {
			continue
		}
		if s, err := procfs.Read(pid); err == nil {
			out = append(out, process{pid, s.Start, argv[4]})
		}
	}
	return out, nil
}
