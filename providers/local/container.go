package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/internal/regular"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology/fabric"
)

// Container is a machine of namespaces over an overlay of a root file system, run by
// runc with netlab as its PID 1: a Node of the netns provider, or an outside host of any.
type Container struct {
	Lab  labs.Name
	Name string
	Dir  string // its own in the lab's state directory
	Logs string // logs/<name> there: the machine's /var/log
}

// check rejects a container without a valid lab and name: its cgroup would be another one's.
func (c Container) check() error {
	if err := c.Lab.Check(); err != nil {
		return err
	}
	if c.Name == "" || c.Name == "." || c.Name == ".." || strings.Contains(c.Name, "/") {
		return fmt.Errorf("%q is not the name of a machine", c.Name)
	}
	return nil
}

// Path is a path below the container's directory.
func (c Container) Path(elem ...string) string {
	return filepath.Join(append([]string{c.Dir}, elem...)...)
}

// MakeDirs creates the directories that Start requires.
func (c Container) MakeDirs() error {
	for _, d := range []string{c.Path("rootfs"), c.Path("upper"), c.Path("work"), c.Logs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Running reports whether the container runs, and makes sure that its network namespace ends with
// it: earlier versions of netlab pinned it.
func (c Container) Running(ctx context.Context) (bool, error) {
	if c.PID() == 0 {
		return false, nil
	}
	return true, c.adopt(ctx)
}

// Start runs the container over lower directories, the topmost first. Its overlay is mounted
// in a separate mount namespace, which the container inherits: it is not visible on the machine
// and is unmounted when the container stops.
func (c Container) Start(ctx context.Context, runc string, lowers []string, spec *specs.Spec) error {
	if err := c.check(); err != nil {
		return err
	}
	config, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.Path("config.json"), config, 0o644); err != nil {
		return err
	}
	logs, err := os.OpenRoot(c.Logs) // the container's /var/log: it may have put anything there
	if err != nil {
		return err
	}
	defer logs.Close()
	log, err := regular.Append(logs, "init.log")
	if err != nil {
		return err
	}
	defer log.Close()
	options := "lowerdir=" + strings.Join(lowers, ":") + ",upperdir=" + c.Path("upper") + ",workdir=" + c.Path("work")
	procs, err := enrolment(c.Lab) // runc moves the container into its cgroup
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-ec", join+`mount -t overlay overlay -o "$1" "$2"; shift 2; exec "$@"`, "sh",
		procs, options, c.Path("rootfs"),
		runc, "--root="+c.Path("runc"), "--log="+c.Path("runc.log"),
		"run", "--detach", "--bundle="+c.Dir, "--pid-file="+c.Path("pid"), c.Name)
	cmd.Env = append(os.Environ(), LabelKey+"="+c.Lab.Label())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(c.Path("runc.log"))
		more, _ := regular.Read(logs, "init.log", 1<<20)
		return &command.Error{Args: cmd.Args, Output: strings.TrimSpace(string(said) + "\n" + string(more)), Err: err}
	}
	return c.adopt(ctx)
}

// adopt has the container's network namespace end with its PID 1.
func (c Container) adopt(ctx context.Context) error {
	pid := c.PID()
	if pid == 0 {
		return nil // it has exited: Create gives it another namespace
	}
	return fabric.Adopt(ctx, c.Lab, c.Name, pid)
}

// PID returns the process id of PID 1 on this machine, or 0 if the container is not running. One
// that was killed is not, though its processes may take a while to end.
func (c Container) PID() int {
	data, err := os.ReadFile(c.Path("pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	// Process ids are reused: only one in the container's cgroup is the container's.
	cgroups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	own := CgroupOf(c.Lab, c.Name)
	if err != nil || !(strings.Contains(string(cgroups), own+"\n") || strings.Contains(string(cgroups), own+"/")) || !procfs.Running(pid) {
		return 0
	}
	return pid
}

// stopLimit bounds an orderly shutdown, for which PID 1 has a lower limit.
const stopLimit = 30 * time.Second

// Stop has PID 1 shut the container down, then kills the remaining processes. It keeps the disk.
func (c Container) Stop(ctx context.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	limit := time.After(stopLimit)
	if pid := c.PID(); pid != 0 {
		unix.Kill(pid, unix.SIGTERM)
	}
	for c.PID() != 0 {
		select {
		case <-time.After(10 * time.Millisecond): // the kernel reports the exit of a process to its parent only
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return c.Clear(ctx)
		}
	}
	return c.Clear(ctx)
}

// Clear kills the container's remaining processes and keeps its disk.
func (c Container) Clear(ctx context.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	thaw(c.Lab, c.Name)
	err := KillAll(ctx, func() []int { return InCgroups(c.Lab, c.Name) })
	return errors.Join(err, RemoveCgroups(ctx, c.Lab, c.Name), os.RemoveAll(c.Path("runc")), os.RemoveAll(c.Path("pid")))
}

// Remove kills the container and removes its files and cgroups.
func (c Container) Remove(ctx context.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	return errors.Join(c.Clear(ctx), os.RemoveAll(c.Dir))
}
