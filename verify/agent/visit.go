package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Visit is an agent in the network namespace of a Pod that has none: it sees what the Pod sees,
// and its image needs no tool. It has the Pod's resolv.conf and hosts file, a control socket in the
// Node's file system, and no data ports.
type Visit struct {
	Name   string `json:"name"` // of the Pod, with its Namespace
	UID    string `json:"uid"`  // of the Pod: its processes are found by their cgroup
	IP     string `json:"ip"`
	Socket string `json:"socket"`
}

// Visited says that a visit's control socket answers, or why there is none.
type Visited struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`
}

// visitMain reads a list of Visits from in, and serves them until in ends: whoever asked for them
// may have been killed. It writes a Visited for each.
func visitMain(ctx context.Context, args []string, in io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintln(stderr, "agent visit takes no arguments: it reads a list of Pods from its input")
		return 2
	}
	return visits(ctx, "/proc", in, stdout, stderr)
}

func visits(ctx context.Context, proc string, in io.Reader, stdout, stderr io.Writer) int {
	var all []Visit
	if err := json.NewDecoder(in).Decode(&all); err != nil {
		fmt.Fprintf(stderr, "read the list of Pods: %v\n", err)
		return 2
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	answers := make(chan Visited)
	var serving sync.WaitGroup
	for _, v := range all {
		serving.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its namespaces
			said := sync.OnceFunc(func() { answers <- Visited{Name: v.Name} })
			if err := v.serve(ctx, proc, said); err != nil && ctx.Err() == nil {
				answers <- Visited{v.Name, err.Error()}
			}
			_ = os.Remove(v.Socket)
		})
	}
	go func() {
		serving.Wait()
		close(answers)
	}()
	out := json.NewEncoder(stdout)
	for a := range answers {
		if out.Encode(a) != nil {
			stop()
		}
	}
	return 0
}

// serve runs an agent in the Pod's network namespace until ctx ends, and calls ready when its
// socket answers. The calling goroutine is locked to its thread, whose namespaces change.
func (v Visit) serve(ctx context.Context, proc string, ready func()) error {
	pid, err := podProcess(proc, v.UID)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(v.Socket), 0o755); err != nil {
		return err
	}
	if err := join(filepath.Join(proc, pid), v.Socket); err != nil {
		return fmt.Errorf("enter the network of %s: %w", v.Name, err)
	}
	serving := exec.CommandContext(ctx, "/proc/self/exe", "agent", "serve", "--name", v.Name, "--ip", v.IP, "--socket", v.Socket, "--http", "0", "--tcp", "0", "--udp", "0")
	serving.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	serving.Stderr = &said
	if err := serving.Start(); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	go func() {
		for watching.Err() == nil {
			if c, err := net.Dial("unix", v.Socket); err == nil {
				c.Close()
				ready()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	err = serving.Wait()
	stop()
	return errors.Join(err, errors.New(strings.TrimSpace(said.String())))
}

// podProcess finds a process of a Pod by its cgroup: one with a resolv.conf, which the pause
// container may lack.
func podProcess(proc, uid string) (pid string, err error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return "", err
	}
	slice := strings.ReplaceAll(uid, "-", "_") // as the systemd cgroup driver writes it
	for _, e := range entries {
		if e.Name()[0] < '0' || e.Name()[0] > '9' {
			continue
		}
		text, err := os.ReadFile(filepath.Join(proc, e.Name(), "cgroup"))
		if err != nil || !strings.Contains(string(text), "pod"+uid) && !strings.Contains(string(text), "pod"+slice) {
			continue
		}
		pid = e.Name()
		if _, err := os.Stat(filepath.Join(proc, pid, "root/etc/resolv.conf")); err == nil {
			return pid, nil
		}
	}
	if pid == "" {
		return "", fmt.Errorf("no process of the Pod runs: %w", fs.ErrNotExist)
	}
	return pid, nil
}

// join puts the calling thread into the network namespace of a process, and into a mount namespace
// of its own with that process's resolver configuration, which is copied: a file of another mount
// namespace cannot be mounted. The copies are made beside a path, and do not stay there.
func join(process, beside string) error {
	network, err := os.Open(filepath.Join(process, "ns/net"))
	if err != nil {
		return err
	}
	defer network.Close()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		text, err := os.ReadFile(filepath.Join(process, "root", file))
		if err != nil {
			continue // an image may have none
		}
		copied := beside + "." + filepath.Base(file)
		if err := os.WriteFile(copied, text, 0o644); err != nil {
			return err
		}
		err = unix.Mount(copied, file, "", unix.MS_BIND, "")
		if err := errors.Join(err, os.Remove(copied)); err != nil {
			return fmt.Errorf("mount the Pod's %s: %w", file, err)
		}
	}
	return unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
}
