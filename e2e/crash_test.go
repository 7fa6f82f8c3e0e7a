package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/providers"
)

// moment is a point in the life of an `up`, known by a line of progress or by a file
// that appears.
type moment struct {
	name string
	line string // part of a line on standard error
	file string // pattern; below the lab's state directory unless absolute

	interrupt bool // by Ctrl-C, which stops `up` at once with clean-up, instead of a kill
}

func moments() []moment {
	return []moment{
		{name: "the state is written", file: "state.json"},
		{name: "the fabric is begun", file: "/run/netns/netlab.nlt-kill"},
		{name: "a Node is laid out", file: "nodes/*/upper/etc/hostname"},
		{name: "an outside host starts", file: "hosts/*/pid", interrupt: true},
		{name: "runc runs a Node", file: "nodes/*/runc/*"},
		{name: "the Nodes run", line: "nodes: 2 to start", interrupt: true},
		{name: "kubeadm is at work", file: "nodes/cp/upper/etc/kubernetes/manifests/kube-apiserver.yaml", interrupt: true},
		{name: "the control plane runs", line: "control plane"},
		{name: "Pods of the load balancer start", file: "logs/*/pods/metallb-system_*"},
		{name: "the CNI is rolled out", line: "flannel", interrupt: true},
	}
}

// killed: whenever `up` is killed, `down` leaves nothing, and another `up` continues.
func (l *labs) killed(t *testing.T) {
	b := l.lab(t, "nlt-kill", small)
	for _, m := range moments() {
		t.Run(m.name, func(t *testing.T) {
			if m.interrupt {
				b.interrupted(t, m)
			} else {
				b.upUntil(t, m, unix.SIGKILL)
			}
			b.run(t, 0, "down", b.file)
			b.clean(t)
		})
	}
	if !t.Run("up goes on", func(t *testing.T) {
		b.upUntil(t, moment{line: "control plane"}, unix.SIGKILL)
		b.run(t, 1, "status", b.name)
		b.up(t)
		b.run(t, 0, "status", b.name)
	}) {
		return
	}
	t.Run("down is killed", func(t *testing.T) {
		down := b.command("down", b.name)
		if err := down.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "the state says that the lab goes", func() bool {
			data, err := os.ReadFile(b.path("state.json"))
			if err != nil {
				t.Fatalf("down ended before it was killed: %v", err)
			}
			return strings.Contains(string(data), providers.PhaseDeleting)
		})
		down.Process.Kill()
		if err := down.Wait(); err == nil {
			t.Error("down ended before it was killed")
		}
		b.run(t, 0, "down", b.name)
		b.clean(t)
	})
}

// atOnce bounds what follows Ctrl-C, whatever was at work: some milliseconds on a machine
// with nothing else to do.
const atOnce = 5 * time.Second

// interrupted: Ctrl-C stops `up` immediately, which prints how to continue.
func (b *lab) interrupted(t *testing.T, m moment) {
	t.Helper()
	code, said, took := b.upUntil(t, m, unix.SIGINT)
	if took > atOnce {
		t.Errorf("up ended %s after Ctrl-C, want at most %s", took, atOnce)
	}
	if code != 2 || !strings.Contains(said, "error: stopped\n") || !strings.Contains(said, "`netlab up "+b.file+"` continues") {
		t.Errorf("Ctrl-C gives exit code %d and says\n%s", code, said)
	}
	b.run(t, 1, "status", b.name)
}

// mend: `status` reports what was killed in a running lab, and `up` repairs it.
func (b *lab) mend(t *testing.T) {
	b.up(t)
	for _, c := range []struct {
		name   string
		pids   func(*testing.T) []int
		status string // that status says
	}{
		{"forwarder", func(t *testing.T) []int { return b.pids(t, "forward") }, "nothing forwards 127.0.0.1:"},
		{"PID 1 of an outside host", func(t *testing.T) []int { return b.pid1(t, "hosts", "client") }, "host client is off"},
		{"PID 1 of a Node", func(t *testing.T) []int { return b.pid1(t, "nodes", "w1") }, "node w1 is off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pids := c.pids(t)
			if len(pids) != 1 {
				t.Fatalf("its processes are %v, want one", pids)
			}
			if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			until(t, "it is dead", func() bool { return unix.Kill(pids[0], 0) != nil || zombie(pids[0]) })
			out := b.run(t, 1, "status", b.name)
			if _, problems, _ := strings.Cut(out, "problems:"); !strings.Contains(problems, c.status) {
				t.Errorf("status does not say %q:\n%s", c.status, out)
			}
			b.up(t)
			b.run(t, 0, "status", b.name)
		})
	}
	b.passes(t)
}

// pid1 is the first process of a machine; kind is its directory in the state.
func (b *lab) pid1(t *testing.T, kind, machine string) []int {
	t.Helper()
	data, err := os.ReadFile(b.path(kind, machine, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	return []int{atoi(t, string(data))}
}

// path is a path below the lab's state directory.
func (b *lab) path(elem ...string) string {
	return filepath.Join(append([]string{b.state, b.name}, elem...)...)
}

// upUntil starts an `up` and sends it a signal at a moment. It gives the exit code, -1
// where the signal ended it, what it said until then, and how long it went on.
func (b *lab) upUntil(t *testing.T, m moment, signal unix.Signal) (code int, said string, took time.Duration) {
	t.Helper()
	cmd, lines := b.started(t, "up", "--no-verify", b.file)
	ended := false
	var text strings.Builder
	read := func() (found bool) {
		for {
			select {
			case line, open := <-lines:
				if !open {
					ended = true
					return found
				}
				text.WriteString(line + "\n")
				found = found || m.line != "" && strings.Contains(line, m.line)
			default:
				return found
			}
		}
	}
	pattern := m.file
	if !filepath.IsAbs(pattern) {
		pattern = b.path(pattern)
	}
	until(t, m.name+" "+m.line, func() bool {
		if read() || ended {
			return true
		}
		found, _ := filepath.Glob(pattern)
		return m.file != "" && len(found) > 0
	})
	if ended {
		cmd.Wait()
		t.Fatalf("up ended before that:\n%s", text.String())
	}
	began := time.Now()
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	for line := range lines {
		text.WriteString(line + "\n")
	}
	cmd.Wait()
	took = time.Since(began)
	t.Logf("%v ended it after %s", signal, took.Round(time.Millisecond))
	return cmd.ProcessState.ExitCode(), text.String(), took
}

// until waits for a condition, looking every millisecond.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// zombie reports whether a process has exited and its parent has not waited for it yet.
func zombie(pid int) bool {
	return !procfs.Alive(pid)
}
