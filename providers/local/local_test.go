package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/labs"
)

// sleeper runs a process, as one of a lab if enrol is set, with the lab's label in any case.
func sleeper(t *testing.T, lab labs.Name, enrol bool, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "86390")
	if len(argv) > 0 {
		cmd.Args = argv
	}
	cmd.Env = append(os.Environ(), LabelKey+"="+lab.Label())
	if enrol {
		if err := Enrol(lab, cmd); err != nil {
			t.Skip("requires the right to make a cgroup: ", err)
		}
		t.Cleanup(func() { RemoveCgroups(context.Background(), lab, "") })
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for { // its label and its cgroup come with exec
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid)); err != nil || string(name) == "sleep\n" {
			return cmd
		}
		time.Sleep(time.Millisecond)
	}
}

// A lab's processes are those in its cgroup: not those of another lab, though its name begins
// alike, and not those that inherited its label, as a terminal multiplexer does that was started
// in a lab's shell.
func TestProcesses(t *testing.T) {
	one, two := labs.MustName("nlt-local"), labs.MustName("nlt-local-2")
	a, b, stranger := sleeper(t, one, true), sleeper(t, two, true), sleeper(t, one, false)
	if got := Processes(one); !slices.Equal(got, []int{a.Process.Pid}) {
		t.Errorf("processes are %v, want %d", got, a.Process.Pid)
	}
	if got := Labs(); !slices.Contains(got, one) || !slices.Contains(got, two) {
		t.Errorf("the labs are %v", got)
	}
	go a.Wait()
	if err := Stop(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if got := Processes(two); !slices.Equal(got, []int{b.Process.Pid}) {
		t.Errorf("the other lab's processes are %v, want %d", got, b.Process.Pid)
	}
	if !procfs.Alive(stranger.Process.Pid) {
		t.Error("a process that has only the label was killed")
	}
	if slices.Contains(Labs(), one) {
		t.Error("a label in the environment of a process is taken for a lab")
	}
}

// The forwarder of a lab that an earlier version made runs outside the lab's cgroup.
func TestEarlierForwarder(t *testing.T) {
	lab := labs.MustName("nlt-local")
	if os.Geteuid() != 0 {
		t.Skip("requires root: an earlier forwarder is root's")
	}
	dir := t.TempDir()
	forwarder := exec.Command("sh")
	forwarder.Args = []string{"sh", "forward", lab.Label(), "cp", "192.0.2.1:6443"}
	if err := unix.Mkfifo(filepath.Join(dir, "forward"), 0o600); err != nil {
		t.Fatal(err)
	}
	forwarder.Dir, forwarder.Env = dir, []string{LabelKey + "=" + lab.Label()} // sh waits for its script, the FIFO
	if err := forwarder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { forwarder.Process.Kill(); forwarder.Wait() })
	for !slices.Contains(Processes(lab), forwarder.Process.Pid) {
		if !procfs.Alive(forwarder.Process.Pid) {
			t.Fatal("it ended")
		}
		time.Sleep(time.Millisecond)
	}
}

// A paused container on cgroup v1 does not take its SIGKILL: it is thawed first.
func TestStopOfAPausedContainer(t *testing.T) {
	const freezer = "/sys/fs/cgroup/freezer"
	if _, err := os.Stat(filepath.Join(freezer, "cgroup.procs")); err != nil || os.Geteuid() != 0 {
		t.Skip("requires root and the freezer of cgroup v1")
	}
	lab := labs.MustName("nlt-frozen")
	dir := filepath.Join(freezer, CgroupOf(lab, "w1"), "pod")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "86390")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	t.Cleanup(func() { os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0); cmd.Process.Kill() })
	for file, text := range map[string]string{"cgroup.procs": strconv.Itoa(cmd.Process.Pid), "freezer.state": "FROZEN"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := Stop(ctx, lab); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(freezer, CgroupOf(lab, ""))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup is left (%v)", err)
	}
}

// A process that cannot be killed is named when the time is up.
func TestKillAllGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	const nobody = 1 << 30 // beyond the kernel's greatest process id
	err := KillAll(ctx, func() []int { return []int{nobody} })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), strconv.Itoa(nobody)) {
		t.Errorf("%v", err)
	}
}

// A forwarder carries both directions, and the end of one does not cut off the other.
func TestForward(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it enters a network namespace")
	}
	const lab, machine = "nlt-local", "m"
	pin := "/run/netns/netlab." + lab + "." + machine
	if err := exec.Command("ip", "netns", "add", filepath.Base(pin)).Run(); err != nil {
		t.Skip("needs iproute2 and the right to make a network namespace: ", err)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "delete", filepath.Base(pin)).Run() })
	if out, err := exec.Command("ip", "netns", "exec", filepath.Base(pin), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	inside := listenIn(t, pin)
	defer inside.Close()
	go func() {
		c, err := inside.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 64)
		n := 0
		for { // until the client says that it is done
			m, err := c.Read(buf[n:])
			n += m
			if err != nil {
				break
			}
		}
		fmt.Fprintf(c, "got %s", buf[:n])
	}()
	outside, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	go Forward(t.Context(), outside, labs.MustName(lab), machine, inside.Addr().String())

	c, err := net.Dial("tcp4", outside.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, "hello")
	c.(*net.TCPConn).CloseWrite()
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err != nil || string(buf[:n]) != "got hello" {
		t.Errorf("through the forwarder: %q (%v)", buf[:n], err)
	}
}

// listenIn opens a listener inside a network namespace; the socket stays there whoever
// uses it.
func listenIn(t *testing.T, pin string) net.Listener {
	t.Helper()
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		fd, err := os.Open(pin)
		if err == nil {
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET)
			fd.Close()
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		done <- result{l, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.l
}
