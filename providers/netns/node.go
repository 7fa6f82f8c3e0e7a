package netns

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

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// node is one Node's place on this machine.
type node struct {
	lab     labs.Name
	machine topology.Machine
	dir     string // nodes/<name> in the lab's state directory
	logs    string // logs/<name> there: the Node's /var/log
}

func nodeOf(lab labs.Name, dir string, m topology.Machine) node {
	return node{lab: lab, machine: m, dir: filepath.Join(dir, "nodes", m.Name), logs: filepath.Join(dir, "logs", m.Name)}
}

func (n node) path(elem ...string) string {
	return filepath.Join(append([]string{n.dir}, elem...)...)
}

// prepare lays the Node out on disk: its containerd root cloned from the store, its
// files in the overlay's upper directory.
func (n node) prepare(ctx context.Context, of components.Artifacts, files map[string]kubeadm.File) error {
	// What a killed `up` left of a Node that never ran is of no use.
	if err := os.RemoveAll(n.dir); err != nil {
		return err
	}
	for _, d := range []string{n.path("rootfs"), n.path("upper"), n.path("work"), n.path("kubelet"), n.logs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := artifacts.Clone(ctx, of.Store, n.path("containerd")); err != nil {
		return fmt.Errorf("give Node %s its images: %w", n.machine.Name, err)
	}
	return local.WriteFiles(files, func(path string) string {
		if rest, kubelet := strings.CutPrefix(path, "/var/lib/kubelet/"); kubelet {
			return n.path("kubelet", rest)
		}
		return n.path("upper", path)
	})
}

// start runs the Node, as the artifacts at hand say: a Node may start again when the cache
// has dropped the netlab that it ran with before. Its overlay is mounted in a mount
// namespace of its own, which runc's container inherits: it is nowhere on the machine, and
// goes when the Node does.
func (n node) start(ctx context.Context, artifacts components.Artifacts) error {
	config, err := json.Marshal(n.spec(artifacts))
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.path("config.json"), config, 0o644); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(n.logs, "init.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	options := "lowerdir=" + strings.Join(artifacts.Rootfs, ":") + ",upperdir=" + n.path("upper") + ",workdir=" + n.path("work")
	cmd := exec.CommandContext(ctx, "sh", "-ec", `mount -t overlay overlay -o "$1" "$2"; shift 2; exec "$@"`, "sh",
		options, n.path("rootfs"),
		artifacts.Programs["runc"], "--root="+filepath.Join(n.dir, "runc"), "--log="+n.path("runc.log"),
		"run", "--detach", "--bundle="+n.dir, "--pid-file="+n.path("pid"), n.machine.Name)
	cmd.Env = append(os.Environ(), local.LabelKey+"="+n.lab.Label())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(n.path("runc.log"))
		more, _ := os.ReadFile(log.Name())
		return &command.Error{Args: cmd.Args, Output: strings.TrimSpace(string(said) + "\n" + string(more)), Err: err}
	}
	return nil
}

// pid gives the process id of the Node's PID 1 on this machine, or 0 when it does not run.
func (n node) pid() int {
	data, err := os.ReadFile(n.path("pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	// A process id is used again one day; one in the Node's own cgroup is the Node's.
	cgroups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	own := local.CgroupOf(n.lab, n.machine.Name)
	if err != nil || !(strings.Contains(string(cgroups), own+"\n") || strings.Contains(string(cgroups), own+"/")) || !procfs.Alive(pid) {
		return 0
	}
	return pid
}

// remember keeps what the Node was made from, once it runs.
func (n node) remember() error {
	data, err := json.Marshal(n.machine)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.path("machine.json"), data, 0o644)
}

// recall gives what a Node was made from; false when it never got to run.
func (n node) recall() (topology.Machine, bool) {
	var m topology.Machine
	data, err := os.ReadFile(n.path("machine.json"))
	return m, err == nil && json.Unmarshal(data, &m) == nil
}

// stopLimit bounds a Node's ordered end, which pid1 bounds by less.
const stopLimit = 30 * time.Second

// stop has PID 1 end the Node in order, then ends what still runs, and keeps its disk.
func (n node) stop(ctx context.Context) error {
	limit := time.After(stopLimit)
	if pid := n.pid(); pid != 0 {
		unix.Kill(pid, unix.SIGTERM)
	}
	for n.pid() != 0 {
		select {
		case <-time.After(10 * time.Millisecond): // the kernel tells nobody when a stranger's child is gone
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return n.clear(ctx)
		}
	}
	return n.clear(ctx)
}

// clear ends what still runs of the Node and keeps its disk.
func (n node) clear(ctx context.Context) error {
	err := local.KillAll(ctx, func() []int { return local.InCgroups(n.lab, n.machine.Name) })
	return errors.Join(err, local.RemoveCgroups(ctx, n.lab, n.machine.Name), os.RemoveAll(n.path("runc")), os.RemoveAll(n.path("pid")))
}

// remove ends the Node and removes its files and cgroups.
func (n node) remove(ctx context.Context) error {
	return errors.Join(n.clear(ctx), os.RemoveAll(n.dir))
}
