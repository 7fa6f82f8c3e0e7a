package pid1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary acts as PID 1 of a Node: in its own namespaces, with the directory
// that this variable names in place of /etc/netlab.
const playEnv = "PID1_TEST_ETC"

func TestMain(m *testing.M) {
	if etc := os.Getenv(playEnv); etc != "" {
		if err := furnish(etc); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(Main(os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

// furnish makes of a new mount namespace what a Node's is: its own /proc, /run and /etc,
// and, so that no cgroup of this machine is touched, no cgroups.
func furnish(etc string) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	for _, m := range []struct{ kind, target string }{{"proc", "/proc"}, {"tmpfs", "/run"}, {"tmpfs", "/etc"}, {"tmpfs", "/sys/fs/cgroup"}} {
		if err := unix.Mount(m.kind, m.target, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := os.Mkdir(filepath.Dir(ServicesFile), 0o755); err != nil {
		return err
	}
	return unix.Mount(etc, filepath.Dir(ServicesFile), "", unix.MS_BIND, "")
}

// node is a PID 1 that runs.
type node struct {
	cmd *exec.Cmd
	dir string
}

func start(t *testing.T, dir string, services ...Service) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: PID 1 mounts over /proc/sys of a namespace")
	}
	data, err := json.Marshal(services)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(ServicesFile)), data, 0o644); err != nil {
		t.Fatal(err)
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	n := &node{cmd: exec.Command(os.Args[0]), dir: dir}
	n.cmd.Env = append(os.Environ(), playEnv+"="+dir)
	n.cmd.Stderr = stderr
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.cmd.Process.Kill(); n.cmd.Wait() })
	return n
}

// shell is a service that appends a line to the file name+".started" and then runs a script.
func shell(dir, name, script string) Service {
	return Service{Name: name, Log: filepath.Join(dir, "log", name+".log"),
		Argv: []string{"/bin/sh", "-ec", "echo started >>" + dir + "/" + name + ".started\n" + script}}
}

func (n *node) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(n.dir, name))
	return string(data)
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// children are the processes whose parent is PID 1, as this machine counts them.
func (n *node) children(t *testing.T) map[int]string {
	t.Helper()
	out := map[int]string{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		data, _ := os.ReadFile(file)
		_, after, _ := strings.Cut(string(data), ") ")
		if f := strings.Fields(after); len(f) > 1 && f[1] == strconv.Itoa(n.cmd.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			out[pid] = f[0] + " " + strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return out
}

// pidOf finds the child whose whole command line is command: a shell that has yet to
// exec it has it in its script.
func (n *node) pidOf(t *testing.T, command string) int {
	t.Helper()
	for pid, text := range n.children(t) {
		if _, line, _ := strings.Cut(text, " "); line == command {
			return pid
		}
	}
	return 0
}

// A service that is killed starts again, and others are left alone; its output goes on
// in the same log.
func TestServicesAreRestarted(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, shell(dir, "one", "echo said; exec sleep 86391"), shell(dir, "two", "exec sleep 86392"))
	until(t, "both run", func() bool { return n.pidOf(t, "sleep 86391") != 0 && n.pidOf(t, "sleep 86392") != 0 })
	other := n.pidOf(t, "sleep 86392")
	killed := n.pidOf(t, "sleep 86391")
	began := time.Now()
	if err := unix.Kill(killed, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the first runs again", func() bool { p := n.pidOf(t, "sleep 86391"); return p != 0 && p != killed })
	if took := time.Since(began); took < restartDelay {
		t.Errorf("started again after %s: one that always dies would burn a core", took)
	}
	if n.pidOf(t, "sleep 86392") != other || n.read("two.started") != "started\n" {
		t.Error("the other service was started again")
	}
	if got := n.read("log/one.log"); got != "said\nsaid\n" {
		t.Errorf("the log is %q", got)
	}
	if said := n.read("stderr"); !strings.Contains(said, " one (pid ") {
		t.Errorf("PID 1 does not report it: %q", said)
	}
}

// A missing program is retried, and does not delay the others.
func TestMissingProgram(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	n := start(t, dir, Service{Name: "missing", Argv: []string{missing}, Log: filepath.Join(dir, "missing.log")}, shell(dir, "two", "exec sleep 86393"))
	until(t, "the other runs", func() bool { return n.pidOf(t, "sleep 86393") != 0 })
	if err := os.WriteFile(missing, []byte("#!/bin/sh\nexec sleep 86394\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	until(t, "it runs once it is there", func() bool { return n.pidOf(t, "sleep 86394") != 0 })
}

// A service waits for the socket that it comes after.
func TestAfter(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	late := shell(dir, "late", "exec sleep 86395")
	late.After = socket
	n := start(t, dir, late, shell(dir, "first", "exit"))
	// The first exits and is started again: PID 1 has had the time to start the late one.
	until(t, "the first was started twice", func() bool { return strings.Count(n.read("first.started"), "started") > 1 })
	if n.read("late.started") != "" {
		t.Error("it did not wait for its socket")
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	until(t, "the late one runs", func() bool { return n.read("late.started") != "" })
}

// Orphans become PID 1's and do not stay as zombies.
func TestOrphansAreReaped(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, shell(dir, "one", "i=0; while [ $i -lt 20 ]; do (sleep 0.2 & echo $i >>"+dir+"/orphans); i=$((i+1)); done; exec sleep 86397"))
	until(t, "orphans were made", func() bool { return strings.Count(n.read("orphans"), "\n") == 20 && n.pidOf(t, "sleep 86397") != 0 })
	until(t, "only the service is left", func() bool { return len(n.children(t)) == 1 })
	if n.read("one.started") != "started\n" {
		t.Error("an orphan's end was taken for the service's")
	}
}

// What kubelet writes machine-wide stays in the Node; what is the Node's own (net) is
// written; the rest is refused.
func TestSysctlsAreGuarded(t *testing.T) {
	before := map[string]string{}
	for name := range guarded {
		data, _ := os.ReadFile("/proc/sys/" + name)
		before[name] = string(data)
	}
	dir := t.TempDir()
	script := `for f in vm/overcommit_memory kernel/panic kernel/panic_on_oops; do cat /proc/sys/$f >>` + dir + `/found; echo 7 >/proc/sys/$f; cat /proc/sys/$f >>` + dir + `/written; done
echo 1 >/proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward >>` + dir + `/net
if echo 5 >/proc/sys/vm/swappiness; then echo yes; else echo no; fi >>` + dir + `/other 2>/dev/null
exec sleep 86398`
	n := start(t, dir, shell(dir, "kubelet", script))
	until(t, "the script has run", func() bool { return n.pidOf(t, "sleep 86398") != 0 })
	for file, want := range map[string]string{"found": "1\n10\n1\n", "written": "7\n7\n7\n", "net": "1\n", "other": "no\n"} {
		if got := n.read(file); got != want {
			t.Errorf("%s: %q, want %q; %s", file, got, want, n.read("log/kubelet.log"))
		}
	}
	for name, was := range before {
		if data, _ := os.ReadFile("/proc/sys/" + name); string(data) != was {
			t.Errorf("the machine's %s was %q and is %q", name, was, data)
		}
	}
}

// SIGTERM ends PID 1, and with it everything in the Node.
func TestStop(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, shell(dir, "one", "trap 'echo ended >"+dir+"/end; exit' TERM; while :; do sleep 0.05; done"))
	until(t, "it runs", func() bool { return n.read("one.started") != "" })
	if err := n.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Wait(); err != nil {
		t.Errorf("PID 1 ends with %v", err)
	}
	if left := n.children(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A service that starts after another stops first, then the containers, then the service that
// runs them.
func TestStopsInOrder(t *testing.T) {
	dir := t.TempDir()
	last := func(who string) string { return "trap 'sleep 0.1; echo " + who + " >>" + dir + "/end; exit' TERM\n" }
	const wait = "while :; do sleep 0.02; done"
	container := filepath.Join(dir, "container.sh")
	if err := os.WriteFile(container, []byte(last("container")+"echo >"+dir+"/container.started\n"+wait), 0o644); err != nil {
		t.Fatal(err)
	}
	n := start(t, dir, shell(dir, "containerd", last("containerd")+"unshare --pid --fork sh "+container+" &\n"+wait), shell(dir, "kubelet", last("kubelet")+wait))
	until(t, "all run", func() bool { return n.read("container.started") != "" && n.read("kubelet.started") != "" })
	if err := n.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Wait(); err != nil {
		t.Errorf("PID 1 ends with %v", err)
	}
	if got := n.read("end"); got != "kubelet\ncontainer\ncontainerd\n" {
		t.Errorf("ended in the order %q", got)
	}
	if said := n.read("stderr"); said != "" {
		t.Errorf("PID 1 says %q", said)
	}
}

// A process that does not exit on SIGTERM is killed.
func TestStubbornProcessesAreKilled(t *testing.T) {
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo ready; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 6))
	var said bytes.Buffer
	end(&said, 20*time.Millisecond, func() []int { return living(cmd.Process.Pid) })
	if left := living(cmd.Process.Pid); len(left) > 0 {
		t.Error("it still lives")
	}
	if !strings.Contains(said.String(), "sh -c trap") && !strings.Contains(said.String(), "sleep 1000") {
		t.Errorf("of that it says %q", said.String())
	}
	if cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Errorf("it ended by %v", cmd.ProcessState)
	}
}

// It refuses to run other than as PID 1: it would mount over the machine's files.
func TestRefusesToBeOrdinary(t *testing.T) {
	var said bytes.Buffer
	if code := Main(nil, &said); code != 2 || !strings.Contains(said.String(), "PID 1") {
		t.Errorf("exit code %d, %q", code, said.String())
	}
}

// With half a file of services PID 1 ends, and names the file.
func TestBrokenServices(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	n.cmd.Process.Kill()
	n.cmd.Wait()
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(ServicesFile)), []byte("[{"), 0o644); err != nil {
		t.Fatal(err)
	}
	again := exec.Command(os.Args[0])
	again.Env, again.SysProcAttr = n.cmd.Env, n.cmd.SysProcAttr
	out, err := again.CombinedOutput()
	if err == nil || !strings.Contains(string(out), ServicesFile) {
		t.Errorf("%v, %q", err, out)
	}
}

// reload writes other services and has PID 1 read them; it returns once its status is about
// them and is runs.
func (n *node) reload(t *testing.T, is func(map[string]State) bool, services ...Service) {
	t.Helper()
	data, err := json.Marshal(services)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, filepath.Base(ServicesFile)), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the status is about the new file", func() bool {
		s := n.statusNow(t)
		return s.Hash == Hash(data) && is(s.Services)
	})
}

func (n *node) statusNow(t *testing.T) (s Status) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", n.cmd.Process.Pid, StatusFile))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A reload restarts the service that changed, ends the one that left, starts the one that is
// new, and leaves the others alone.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	kept, changes, leaves := shell(dir, "kept", "exec sleep 86381"), shell(dir, "changes", "exec sleep 86382"), shell(dir, "leaves", "exec sleep 86383")
	n := start(t, dir, kept, changes, leaves)
	until(t, "all run", func() bool {
		return n.pidOf(t, "sleep 86381") != 0 && n.pidOf(t, "sleep 86382") != 0 && n.pidOf(t, "sleep 86383") != 0
	})
	other, before := n.pidOf(t, "sleep 86381"), n.pidOf(t, "sleep 86382")
	changes.Config = "another"
	n.reload(t, func(s map[string]State) bool { return len(s) == 3 && s["changes"].PID > 0 && s["new"].PID > 0 },
		kept, changes, shell(dir, "new", "exec sleep 86384"))
	until(t, "the new ones run", func() bool { return n.pidOf(t, "sleep 86382") != 0 && n.pidOf(t, "sleep 86384") != 0 })
	if is := n.pidOf(t, "sleep 86382"); is == before {
		t.Error("what changed was not started again")
	}
	if n.pidOf(t, "sleep 86383") != 0 {
		t.Error("what left the file runs")
	}
	if n.pidOf(t, "sleep 86381") != other || n.read("kept.started") != "started\n" {
		t.Error("what stayed the same was started again")
	}
}

// The status reports how a service exited, and how often it was started.
func TestStatus(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, shell(dir, "broken", "exit 3"), shell(dir, "fine", "exec sleep 86385"))
	until(t, "it has ended twice", func() bool { return strings.Count(n.read("broken.started"), "\n") == 2 })
	until(t, "the status says so", func() bool {
		s := n.statusNow(t).Services
		return s["broken"].Starts == 2 && s["broken"].Ended == "exit status 3" && s["broken"].PID == 0 && s["fine"].PID > 0 && s["fine"].Ended == ""
	})
}

// The pause before a start doubles while a service dies at once, and is short again after it
// has run well.
func TestBackoff(t *testing.T) {
	s := newSupervisor(&bytes.Buffer{})
	u := &unit{Service: Service{Name: "x"}}
	s.units["x"] = u
	var delays []time.Duration
	for range 7 {
		u.began = time.Now()
		s.again(u)
		delays = append(delays, u.delay)
	}
	if want := []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 16e9, 16e9}; !slices.Equal(delays, want) {
		t.Errorf("the pauses are %v, want %v", delays, want)
	}
	u.began = time.Now().Add(-steady)
	if s.again(u); u.delay != restartDelay {
		t.Errorf("after a good run it is %v", u.delay)
	}
}
