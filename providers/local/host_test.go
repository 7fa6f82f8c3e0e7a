package local

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// scene is a lab's networks with outside hosts on them, and no cluster.
type scene struct {
	*testing.T
	providers.Request
}

func newScene(t *testing.T, lab string, change func(*labs.Lab)) *scene {
	t.Helper()
	if os.Getenv(inScratch) == "" {
		t.Skip("needs root: makes namespaces")
	}
	spec := labs.Default(labs.MustName(lab), labstest.Known())
	if change != nil {
		change(&spec)
	}
	plan, err := topology.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	debian := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t, providers.Request{Plan: plan, Dir: t.TempDir()}}
	s.Artifacts = components.Artifacts{Self: self, DebianBase: debian, Programs: map[string]string{"runc": self}, Hosts: map[string][]components.HostService{}}
	for _, m := range plan.Hosts() {
		s.Artifacts.Hosts[m.Name] = []components.HostService{{Name: "agent", Ready: components.Ready{Unix: "/run/netlab/agent.sock"},
			Argv: []string{selfInside, "agent", "serve", "--name", m.Name, "--socket", "/run/netlab/agent.sock"}}}
	}
	t.Cleanup(func() {
		if err := Stop(context.Background(), plan.Lab); err != nil {
			t.Error(err)
		}
	})
	if err := fabric.Create(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	return s
}

// start makes the hosts run as the scene's request says, and gives their PID 1s.
func (s *scene) start() map[string]int {
	s.Helper()
	if err := startHosts(s.Context(), s.Request); err != nil {
		logs, _ := filepath.Glob(filepath.Join(s.Dir, "logs", "*", "init.log"))
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			s.Logf("%s: %s", log, text)
		}
		s.Fatal(err)
	}
	return s.pids()
}

func (s *scene) pids() map[string]int {
	all := map[string]int{}
	for _, m := range s.Plan.Hosts() {
		all[m.Name] = s.host(m.Name).PID()
	}
	return all
}

func (s *scene) host(name string) host {
	s.Helper()
	m, ok := s.Plan.Machine(name)
	if !ok {
		s.Fatalf("no host %s", name)
	}
	return hostOf(s.Plan.Lab, s.Dir, m)
}

// services are the process ids of a host's services, as the host counts them.
func (s *scene) services(name string) map[string]int {
	s.Helper()
	status, err := s.host(name).status()
	if err != nil {
		s.Fatal(err)
	}
	all := map[string]int{}
	for service, state := range status.Services {
		all[service] = state.PID
	}
	return all
}

func (s *scene) kill(pid int) {
	s.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		s.Fatal(err)
	}
	for procfs.Alive(pid) {
		time.Sleep(time.Millisecond)
	}
}

func (s *scene) inspect() string {
	err := inspectHosts(s.Context(), providers.State{Plan: s.Plan, Artifacts: s.Artifacts}, s.Dir)
	if err == nil {
		return ""
	}
	return err.Error()
}

// A command in a host runs in the host's file system, under its name, and gets nothing of the
// caller's environment but the terminal and the language.
func TestHostIsAMachine(t *testing.T) {
	long := strings.Repeat("a", 63)
	s := newScene(t, "nlt-l-machine", func(l *labs.Lab) {
		l.Hosts = append(l.Hosts, labs.Host{Name: long, Role: labs.RoleClient, Networks: []string{"lan"}})
	})
	s.start()
	t.Setenv("TERM", "xterm-test")
	t.Setenv("LANG", "C.UTF-8")
	t.Setenv("SECRET", "of the user")
	for _, name := range []string{"client", long} {
		out, err := s.host(name).Command(t.Context(), selfInside, "about").Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var is about
		if err := json.Unmarshal(out, &is); err != nil {
			t.Fatal(err)
		}
		slices.Sort(is.Env)
		if want := []string{envHome, "LANG=C.UTF-8", LabelKey + "=nlt-l-machine", envPath, "TERM=xterm-test"}; !slices.Equal(is.Env, want) {
			t.Errorf("%s: the environment is %q, want %q", name, is.Env, want)
		}
		if is.Hostname != name || !strings.Contains(is.Hosts, " w1\n") || !strings.HasPrefix(is.Resolv, "nameserver 203.0.113.") {
			t.Errorf("%s is %+v", name, is)
		}
		c, err := s.host(name).Dial(t.Context(), "/run/netlab/agent.sock")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.Close()
	}
}

// What runs as planned is left alone; what ended, or runs another netlab, starts again.
func TestHostsStartAgain(t *testing.T) {
	s := newScene(t, "nlt-l-again", nil)
	first := s.start()
	if said := s.inspect(); said != "" {
		t.Errorf("as planned: %s", said)
	}
	if again := s.start(); !maps.Equal(again, first) {
		t.Errorf("started again: %v, before %v", again, first)
	}
	s.kill(first["client"])
	if said := s.inspect(); !strings.Contains(said, "host client is off") || strings.Contains(said, "router") {
		t.Errorf("client is off: %s", said)
	}
	if err := s.host("client").Command(t.Context(), "true").Run(); err == nil || !strings.Contains(err.Error(), "client is off") {
		t.Errorf("a command in a host that is off: %v", err)
	}
	second := s.start()
	if second["client"] == 0 || second["client"] == first["client"] || second["router"] != first["router"] {
		t.Errorf("after the end of client: %v, before %v", second, first)
	}
	data, err := os.ReadFile(s.Artifacts.Self)
	if err != nil {
		t.Fatal(err)
	}
	s.Artifacts.Self = filepath.Join(t.TempDir(), "newer")
	if err := os.WriteFile(s.Artifacts.Self, data, 0o755); err != nil {
		t.Fatal(err)
	}
	third := s.start()
	for name, pid := range third {
		if pid == 0 || pid == second[name] {
			t.Errorf("%s still runs the netlab of before", name)
		}
	}
}

// A service whose configuration changed restarts, alone; its readiness is waited for.
func TestOneServiceRestarts(t *testing.T) {
	s := newScene(t, "nlt-l-service", nil)
	address := s.host("internet").machine.Address().String()
	listener := func(text string) components.HostService {
		return components.HostService{Name: "x", Argv: []string{selfInside, "listen", address, "7777"}, Files: map[string]string{"/etc/x/x.conf": text},
			Ready: components.Ready{TCP: address + ":7777"}}
	}
	agent := s.Artifacts.Hosts["internet"][0]
	s.Artifacts.Hosts["internet"] = []components.HostService{agent, listener("one")}
	pids, before := s.start(), s.services("internet")
	udp := listener("two")
	udp.Ready = components.Ready{UDP: "7777"}
	s.Artifacts.Hosts["internet"][1] = udp
	if again := s.start(); !maps.Equal(again, pids) {
		t.Errorf("hosts were started again: %v, before %v", again, pids)
	}
	after := s.services("internet")
	if after["agent"] != before["agent"] || after["x"] == before["x"] || after["x"] == 0 {
		t.Errorf("services were %v, and are %v", before, after)
	}
	if text, err := os.ReadFile(s.host("internet").Path("upper", "etc", "x", "x.conf")); err != nil || string(text) != "two" {
		t.Errorf("its file is %q (%v)", text, err)
	}
	udp.Ready.UDP = "7778"
	s.Artifacts.Hosts["internet"][1] = udp
	if said := s.inspect(); !strings.Contains(said, "service x is not ready (UDP port 7778)") {
		t.Errorf("a port that is not bound: %s", said)
	}
	s.Artifacts.Hosts["internet"] = []components.HostService{agent}
	s.start()
	if is := s.services("internet"); len(is) != 1 && is["x"] != 0 {
		t.Errorf("a service that left runs: %v", is)
	}
}

// A service that ends at once is reported with its exit status and where its log is.
func TestServiceFails(t *testing.T) {
	s := newScene(t, "nlt-l-fails", nil)
	s.Artifacts.Hosts["client"] = append(s.Artifacts.Hosts["client"], components.HostService{Name: "bad", Argv: []string{selfInside, "fail"}, Ready: components.Ready{UDP: "7"}})
	err := startHosts(t.Context(), s.Request)
	if err == nil || !strings.Contains(err.Error(), "start host client: service bad exited: exit status 3") {
		t.Fatalf("it gives %v", err)
	}
	log := filepath.Join(s.Dir, "logs", "client", "bad.log")
	if hints := hint.Of(err); !slices.Equal(hints, []string{"see " + log}) {
		t.Errorf("hints are %q", hints)
	}
	if text, err := os.ReadFile(log); err != nil || !strings.HasSuffix(string(text), "this cannot start\n") {
		t.Errorf("the log is %q (%v)", text, err)
	}
	delete(s.Artifacts.Hosts, "router")
	if err := startHosts(t.Context(), s.Request); err == nil || !strings.Contains(err.Error(), "start host router: the lab was made by an earlier version of netlab") {
		t.Errorf("artifacts of an earlier netlab give %v", err)
	}
}

// Agents of an earlier netlab, bare processes of the machine, make room for the host.
func TestEarlierAgents(t *testing.T) {
	s := newScene(t, "nlt-l-earlier", nil)
	agents := map[string]*exec.Cmd{}
	for _, name := range []string{"client", "elsewhere"} {
		c := exec.Command("/proc/self/exe", "agent", "serve", "--name", name, filepath.Join(t.TempDir(), "s"))
		c.Env = append(os.Environ(), LabelKey+"="+s.Plan.Lab.Label())
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
		agents[name] = c
	}
	s.start()
	if procfs.Alive(agents["client"].Process.Pid) {
		t.Error("the agent of client still runs")
	}
	if !procfs.Alive(agents["elsewhere"].Process.Pid) {
		t.Error("the agent of another host was ended")
	}
}

// A symbolic link inside a host does not lead netlab out of it.
func TestLinksOfAHost(t *testing.T) {
	s := newScene(t, "nlt-l-links", nil)
	s.start()
	outside := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(outside, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	hosts := s.host("client").Path("upper", "etc", "hosts")
	check := func(when string) {
		t.Helper()
		s.start()
		if text, err := os.ReadFile(outside); err != nil || string(text) != "mine" {
			t.Errorf("%s: a file of the machine is %q (%v)", when, text, err)
		}
		if info, err := os.Lstat(hosts); err != nil || info.Mode()&os.ModeSymlink != 0 {
			t.Errorf("%s: /etc/hosts is %v (%v)", when, info, err)
		}
	}
	link := func(root string) {
		t.Helper()
		at := filepath.Join(root, "etc", "hosts")
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, at); err != nil {
			t.Fatal(err)
		}
	}
	pid := s.host("client").PID()
	link(filepath.Join("/proc", strings.TrimSpace(mustRead(t, s.host("client").Path("pid"))), "root"))
	check("running")
	s.kill(pid)
	link(s.host("client").Path("upper"))
	check("off")
}

func mustRead(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A host that leaves the plan is removed with its files; Stop ends all of them, and twice is
// no error.
func TestHostsEnd(t *testing.T) {
	s := newScene(t, "nlt-l-end", nil)
	before := s.start()
	gone := s.host("client")
	s.Plan.Machines = slices.DeleteFunc(s.Plan.Machines, func(m topology.Machine) bool { return m.Name == "client" })
	after := s.start()
	if procfs.Alive(before["client"]) || exists(gone.Dir) {
		t.Error("the host that left the plan is there")
	}
	if after["router"] != before["router"] {
		t.Error("router was started again")
	}
	for range 2 {
		if err := Stop(t.Context(), s.Plan.Lab); err != nil {
			t.Fatal(err)
		}
	}
	for name, pid := range after {
		if procfs.Alive(pid) || s.host(name).PID() != 0 {
			t.Errorf("%s still runs", name)
		}
	}
	if left := InCgroups(s.Plan.Lab, ""); len(left) > 0 || exists(testCgroup(CgroupOf(s.Plan.Lab, ""))) {
		t.Errorf("left are %v, the lab's cgroup: %t", left, exists(testCgroup(CgroupOf(s.Plan.Lab, ""))))
	}
	disk := s.host("router").Path("upper", "etc", "hostname")
	if text := mustRead(t, disk); text != "router\n" {
		t.Errorf("the disk of a stopped host has %q", text)
	}
	if err := fabric.Create(t.Context(), s.Plan); err != nil {
		t.Fatal(err)
	}
	for name, pid := range s.start() {
		if pid == 0 || pid == after[name] {
			t.Errorf("%s did not start again", name)
		}
	}
}
