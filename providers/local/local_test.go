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

	"netlab.dev/netlab/labs"
)

// labelledSleep runs a process of a lab.
func labelledSleep(t *testing.T, lab labs.Name) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "86390")
	cmd.Env = append(os.Environ(), LabelKey+"="+lab.Label())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for !slices.Contains(Processes(lab), cmd.Process.Pid) { // its label comes with exec
		time.Sleep(time.Millisecond)
	}
	return cmd
}

// A lab's processes are found by their label, and another lab's are not, though its name
// begins alike.
func TestProcessesByLabel(t *testing.T) {
	a, b := labelledSleep(t, labs.MustName("nlt-local")), labelledSleep(t, labs.MustName("nlt-local-2"))
	if got := Processes(labs.MustName("nlt-local")); !slices.Equal(got, []int{a.Process.Pid}) {
		t.Errorf("processes are %v, want %d", got, a.Process.Pid)
	}
	go a.Wait()
	if err := KillAll(t.Context(), func() []int { return Processes(labs.MustName("nlt-local")) }); err != nil {
		t.Fatal(err)
	}
	if got := Processes(labs.MustName("nlt-local-2")); !slices.Equal(got, []int{b.Process.Pid}) {
		t.Errorf("the other lab's processes are %v, want %d", got, b.Process.Pid)
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
