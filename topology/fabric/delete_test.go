package fabric

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric/residue"
)

// snapshot checks at the end of the test that nothing is left of what it made.
func snapshot(t *testing.T) {
	t.Helper()
	before := take(t)
	t.Cleanup(func() { nothingLeft(t, before) })
}

// take leaves out what the scratch machine shares with the real one, where other
// labs may be created and removed at the same time. This does not include the fabric.
func take(t *testing.T) residue.Snapshot {
	t.Helper()
	s, err := residue.Take()
	must(t, err)
	delete(s, "cgroup")
	delete(s, "eBPF")
	maps.DeleteFunc(s["mount"], func(name, _ string) bool { return !strings.HasPrefix(name, "/run") })
	maps.DeleteFunc(s["sysctl"], func(name, _ string) bool { return !strings.HasPrefix(name, "net/") })
	return s
}

func nothingLeft(t *testing.T, before residue.Snapshot) {
	t.Helper()
	var diff []string
	for range 100 {
		after := take(t)
		if diff = residue.Diff(before, after); len(diff) == 0 {
			return
		}
		time.Sleep(30 * time.Millisecond)
	}
	t.Errorf("residue:\n%s", strings.Join(diff, "\n"))
}

func TestDeleteLeavesNothing(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name string
		// before prepares the machine, and returns what takes that back
		before func(t *testing.T)
	}{
		{"no /run/netns", func(t *testing.T) {}},
		{"empty /run/netns", func(t *testing.T) {
			must(t, os.Mkdir(dir, 0o755))
			t.Cleanup(func() { os.Remove(dir) })
		}},
		{"files in /run/netns, no mount", func(t *testing.T) {
			must(t, os.Mkdir(dir, 0o755))
			must(t, os.WriteFile(filepath.Join(dir, "other"), nil, 0o444))
			t.Cleanup(func() { os.RemoveAll(dir) })
		}},
		{"shared /run", func(t *testing.T) {
			must(t, unix.Mount("", "/run", "", unix.MS_SHARED, ""))
			t.Cleanup(func() { must(t, unix.Mount("", "/run", "", unix.MS_PRIVATE, "")) })
		}},
		{"`ip netns add` before", func(t *testing.T) {
			run(t, "ip", "netns", "add", "other")
			t.Cleanup(func() {
				run(t, "ip", "netns", "del", "other")
				must(t, unix.Unmount(dir, 0))
				must(t, os.Remove(dir))
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.before(t)
			snapshot(t)
			p := quickstart("nlt-d-del")
			must(t, Create(t.Context(), p))
			must(t, HostAccess(t.Context(), p, true))
			names := run(t, "ip", "netns", "list")
			for _, m := range append(p.Machines, topology.Machine{}) {
				if !strings.Contains(names+"\n", Name(p.Lab, m.Name)) {
					t.Errorf("`ip netns list` misses %s: %s", Name(p.Lab, m.Name), names)
				}
			}
			for range 2 {
				must(t, Delete(t.Context(), p.Lab))
			}
		})
	}
}

// `ip netns` works while a lab exists, and its namespaces are kept when the lab is removed.
func TestDeleteKeepsOthersNamespaces(t *testing.T) {
	needRoot(t)
	snapshot(t)
	p, longer := quickstart("nlt-d-own"), quickstart("nlt-d-own-2")
	must(t, Create(t.Context(), p))
	must(t, Create(t.Context(), longer))
	run(t, "ip", "netns", "add", "other")
	must(t, Delete(t.Context(), p.Lab))
	noDiff(t, longer) // a lab whose name only begins alike
	must(t, Delete(t.Context(), longer.Lab))
	run(t, "ip", "netns", "exec", "other", "ip", "link", "set", "lo", "up")
	run(t, "ip", "netns", "del", "other")
	must(t, Delete(t.Context(), p.Lab)) // the last to go tidies up
}

// A process and a socket keep the namespaces alive: their links are removed anyway.
func TestDeleteWhileHeld(t *testing.T) {
	needRoot(t)
	snapshot(t)
	p := quickstart("nlt-d-held")
	create(t, p)
	held := command(t, p.Lab, "w1", "sh", "-c", "echo; exec sleep 60")
	out, err := held.StdoutPipe()
	must(t, err)
	must(t, held.Start())
	t.Cleanup(func() { held.Process.Kill(); held.Wait() })
	out.Read(make([]byte, 1)) // it is inside
	l, err := Listen(t.Context(), p.Lab, "", "tcp4", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })

	must(t, Delete(t.Context(), p.Lab))
	if left := run(t, "nsenter", "--target", pid(held), "--net", "ip", "-o", "link", "show", "type", "veth"); left != "" {
		t.Errorf("left in the held namespace: %s", left)
	}
	must(t, Create(t.Context(), p)) // a new lab of that name is not disturbed
	noDiff(t, p)
}

// A killed Create leaves any prefix of its steps. Both Delete and Create continue from there.
func TestAfterKill(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-kill")
	for _, next := range []string{"delete", "create"} {
		t.Run(next, func(t *testing.T) {
			for step := range 12 {
				before := take(t)
				cmd := exec.Command("/proc/self/exe", "create", p.Lab.Label())
				must(t, cmd.Start())
				time.Sleep(time.Duration(step*step) * 300 * time.Microsecond)
				cmd.Process.Kill()
				cmd.Wait()
				if next == "create" {
					must(t, Create(t.Context(), p))
					noDiff(t, p)
				}
				must(t, Delete(t.Context(), p.Lab))
				nothingLeft(t, before)
			}
		})
	}
}

// A container is a process in a network namespace; boot starts another one of the machine.
func boot(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	container := exec.Command(args[0], append(args[1:], "sh", "-c", "echo; exec sleep 60")...)
	out, err := container.StdoutPipe()
	must(t, err)
	must(t, container.Start())
	t.Cleanup(func() { container.Process.Kill(); container.Wait() })
	out.Read(make([]byte, 1))
	return container
}

func TestAdopt(t *testing.T) {
	needRoot(t)
	snapshot(t)
	p := quickstart("nlt-d-adopt")
	container := boot(t, "unshare", "--net")
	for range 2 {
		must(t, Adopt(t.Context(), p.Lab, "w1", container.Process.Pid))
	}
	create(t, p)
	noDiff(t, p)
	if got := run(t, "nsenter", "--target", pid(container), "--net", "ip", "-o", "-4", "addr"); !strings.Contains(got, "eth1    inet 172.31.0.12/24") {
		t.Errorf("the container's addresses: %s", got)
	}
	if err := Adopt(t.Context(), p.Lab, "w2", os.Getpid()); err == nil {
		t.Error("adopted the machine's own namespace")
	}
	if err := Adopt(t.Context(), p.Lab, "w2", 1<<22+1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("adopted nothing: %v", err)
	}
}

// When the PID 1 of a machine dies, its namespace, NICs and ports are gone: it is silent. Create
// gives the next one new NICs.
func TestDeadMachineIsSilent(t *testing.T) {
	needRoot(t)
	snapshot(t)
	p := quickstart("nlt-d-dead")
	create(t, p)
	container := boot(t, "nsenter", "--net="+Path(p.Lab, "w1"))
	must(t, Adopt(t.Context(), p.Lab, "w1", container.Process.Pid))
	noDiff(t, p)
	w1, _ := p.Machine("w1")
	answers := func() bool { // with a reset, since nothing listens
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := Dial(ctx, p.Lab, "client", "tcp4", w1.Address().String()+":9")
		return errors.Is(err, unix.ECONNREFUSED)
	}
	if !answers() {
		t.Fatal("w1 does not answer while it is on")
	}
	must(t, container.Process.Kill())
	container.Wait()
	ports := func() (found int) {
		must(t, Enter(p.Lab, "", func() error {
			return withSpace(func(s *space) error {
				for _, nic := range w1.NICs {
					if s.links[nic.Port] != nil {
						found++
					}
				}
				return nil
			})
		}))
		return found
	}
	for deadline := time.Now().Add(10 * time.Second); ports() > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if ports() > 0 || answers() {
		t.Errorf("w1 is dead, has %d ports and answers", ports())
	}
	if err := Enter(p.Lab, "w1", func() error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("enter w1: %v", err)
	}
	if diff, err := Diff(p); err != nil || !slices.Contains(diff, "add machine w1") {
		t.Errorf("diff: %q (%v)", diff, err)
	}
	create(t, p)
	noDiff(t, p)
	if !answers() {
		t.Error("the new w1 does not answer")
	}
}

// A process that gets the id of a dead PID 1 is not taken for it.
func TestReusedProcessID(t *testing.T) {
	needRoot(t)
	snapshot(t)
	p := quickstart("nlt-d-reuse")
	create(t, p)
	container := boot(t, "unshare", "--net")
	must(t, unpin(Name(p.Lab, "w1")))
	must(t, link(Name(p.Lab, "w1"), container.Process.Pid, "17"))
	if holder, linked := holderOf(Name(p.Lab, "w1")); holder != 0 || !linked || pinned(Name(p.Lab, "w1")) {
		t.Errorf("process %d is taken for one that started at another time", holder)
	}
	if _, err := open(Name(p.Lab, "w1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	create(t, p)
	noDiff(t, p)
	if got := run(t, "nsenter", "--target", pid(container), "--net", "ip", "-o", "link"); strings.Contains(got, "eth0") {
		t.Errorf("the stranger got NICs: %s", got)
	}
}

// A link that is down shows no carrier, keeps its addresses, and is found and undone by Create;
// Restore leaves other machines' links alone.
func TestLink(t *testing.T) {
	needRoot(t)
	snapshot(t)
	p := quickstart("nlt-d-link")
	create(t, p)
	w1, _ := p.Machine("w1")
	client, _ := p.Machine("client")
	carrier := func() string {
		return run(t, "nsenter", "--net="+Path(p.Lab, "w1"), "ip", "-o", "addr", "show", "eth0")
	}
	before := carrier()
	for range 2 {
		must(t, SetLink(t.Context(), p.Lab, w1.NICs[:1], false))
	}
	link := run(t, "nsenter", "--net="+Path(p.Lab, "w1"), "ip", "-o", "link", "show", "eth0")
	if !strings.Contains(link, "NO-CARRIER") || strings.Contains(link, "LOWER_UP") || carrier() != before {
		t.Errorf("eth0 is %s%swas %s", link, carrier(), before)
	}
	if down, err := LinksDown(p); err != nil || len(down) != 1 || !slices.Equal(down["w1"], []string{"eth0"}) {
		t.Errorf("down: %v (%v)", down, err)
	}
	must(t, Restore(t.Context(), p, []string{"client"}))
	if diff, err := Diff(p); err != nil || !slices.Equal(diff, []string{"set the link of w1 eth0 up"}) {
		t.Errorf("diff: %q (%v)", diff, err)
	}
	for range 2 {
		must(t, Unplug(t.Context(), p.Lab, client))
	}
	if err := SetLink(t.Context(), p.Lab, client.NICs, true); err == nil {
		t.Error("set a link of a machine that is off")
	}
	must(t, Restore(t.Context(), p, []string{"client"}))
	if diff, err := Diff(p); err != nil || !slices.Equal(diff, []string{"set the link of w1 eth0 up"}) {
		t.Errorf("diff after the client is back: %q (%v)", diff, err)
	}
	must(t, SetLink(t.Context(), p.Lab, w1.NICs[:1], true))
	noDiff(t, p)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Every user can open /run and so hold a lock on it; netlab's lock is one that only root can open.
func TestLockIsOutOfReach(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("requires root: it makes a lock file in /run")
	}
	run, err := os.Open("/run")
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	if err := unix.Flock(int(run.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Skip("another program holds a lock on /run: ", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	unlock, err := lock(ctx)
	if err != nil {
		t.Fatalf("with a lock held on /run: %v", err)
	}
	defer unlock()
	if info, err := os.Stat(lockFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v (%v)", lockFile, info.Mode(), err)
	}
}
