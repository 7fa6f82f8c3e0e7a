package fabric

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/procfs"
	"netlab.dev/netlab/topology"
)

func addr(s string) *netlink.Addr {
	a, err := netlink.ParseAddr(s)
	if err != nil {
		panic(err)
	}
	return a
}

func pid(cmd *exec.Cmd) string { return strconv.Itoa(cmd.Process.Pid) }

// fakeAgent stands for the netlab executable: `agent serve` answers on its socket with
// its network namespace and the contents of its DNS file, or of its file of servers; `agent create LAB` creates
// the quickstart plan, to be killed at it.
func fakeAgent(args []string) {
	if args[0] == "create" {
		if err := Create(context.Background(), quickstart(args[1])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	f := flag.NewFlagSet("agent serve", flag.ExitOnError)
	name := f.String("name", "", "")
	f.String("ip", "", "")
	socket := f.String("socket", "", "")
	dns := f.String("dns-file", "", "")
	balance := f.String("balance", "", "")
	servers := f.String("servers-file", "", "")
	f.String("haproxy", "", "")
	f.Parse(args[1:])
	if *name == "broken" {
		fmt.Fprintln(os.Stderr, "agent cannot start")
		os.Exit(3)
	}
	names, _ := os.ReadFile(*dns)
	if *balance != "" {
		file, _ := os.ReadFile(*servers)
		names = []byte(*balance + " " + string(file))
	}
	ns, _ := inode("/proc/self/ns/net")
	l, err := net.Listen("unix", *socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "%d %s %s", ns, os.Getenv(LabelEnv), names)
		c.Close()
	}
}

func TestHosts(t *testing.T) {
	needRoot(t)
	snapshot(t)
	state := t.TempDir()
	p := quickstart("nlt-d-hosts")
	create(t, p)
	self := "/proc/self/exe"
	start := func(p topology.Plan) map[string]string {
		t.Helper()
		must(t, StartHosts(t.Context(), p, state, Software{Self: self}))
		pids := map[string]string{}
		for _, m := range p.Hosts() {
			data, err := os.ReadFile(filepath.Join(state, "hosts", m.Name, "agent.pid"))
			must(t, err)
			pids[m.Name] = strings.Fields(string(data))[0]
		}
		return pids
	}
	said := func(host string) string {
		t.Helper()
		c, err := net.Dial("unix", filepath.Join(state, "hosts", host, "agent.sock"))
		must(t, err)
		defer c.Close()
		data, err := io.ReadAll(c)
		must(t, err)
		return string(data)
	}
	t.Cleanup(func() { must(t, StopHosts(context.Background(), p.Lab)) })

	first := start(p)
	for _, m := range p.Hosts() {
		ns, err := inode(Path(p.Lab, m.Name))
		must(t, err)
		if got, want := said(m.Name), fmt.Sprintf("%d %s ", ns, p.Lab); !strings.HasPrefix(got, want) {
			t.Errorf("%s says %q, want %q…", m.Name, got, want)
		}
	}
	if got := said("internet"); !strings.Contains(got, `"internet.outside.test.": "203.0.113.12"`) {
		t.Errorf("internet serves %s", got)
	}
	if got := start(p); fmt.Sprint(got) != fmt.Sprint(first) {
		t.Errorf("started anew: %v, before %v", got, first)
	}

	data, err := os.ReadFile(self)
	must(t, err)
	self = filepath.Join(t.TempDir(), "newer")
	must(t, os.WriteFile(self, data, 0o755))
	newer := start(p)
	for host := range first {
		if newer[host] == first[host] {
			t.Errorf("%s still runs the executable of before", host)
		}
	}
	if got := start(p); fmt.Sprint(got) != fmt.Sprint(newer) {
		t.Errorf("the newer agents are started anew: %v, before %v", got, newer)
	}
	first = newer

	client, err := strconv.Atoi(first["client"])
	must(t, err)
	must(t, unix.Kill(client, unix.SIGKILL))
	for procfs.Alive(client) {
		time.Sleep(time.Millisecond)
	}
	must(t, os.Remove(filepath.Join(state, "hosts", "router", "agent.pid"))) // found by its label
	p.Names["new.outside.test."] = "203.0.113.99"
	second := start(p)
	for host := range first {
		if second[host] == first[host] {
			t.Errorf("%s still is process %s", host, first[host])
		}
	}
	if got := said("internet"); !strings.Contains(got, "new.outside.test.") {
		t.Errorf("internet serves %s", got)
	}

	p.Machines = p.Machines[:len(p.Machines)-2] // router stays
	start(p)
	for _, host := range []string{"client", "internet"} {
		id, err := strconv.Atoi(second[host])
		must(t, err)
		if procfs.Alive(id) {
			t.Errorf("%s left the plan and runs", host)
		}
	}

	p.Machines[len(p.Machines)-1].Name = "broken"
	must(t, Create(t.Context(), p))
	err = StartHosts(t.Context(), p, state, Software{Self: self})
	if err == nil || !strings.Contains(err.Error(), "start host broken") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("an agent that cannot start: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(state, "logs", "broken.log"))
	if err != nil || !strings.Contains(string(log), "agent cannot start") {
		t.Errorf("its log: %q, %v", log, err)
	}
}

// A load balancer's agent is told of every API server, and starts anew when there are others.
func TestLoadBalancer(t *testing.T) {
	needRoot(t)
	snapshot(t)
	state := t.TempDir()
	p := quickstart("nlt-d-balance")
	p.Kubernetes.API = netip.MustParseAddrPort("172.30.0.21:6443")
	for i := range p.Machines {
		switch m := &p.Machines[i]; m.Name {
		case "client":
			m.Role = topology.RoleAPILB
		case "w1":
			m.Role = topology.RoleControlPlane
		}
	}
	create(t, p)
	t.Cleanup(func() { must(t, StopHosts(context.Background(), p.Lab)) })
	said := func() string {
		t.Helper()
		must(t, StartHosts(t.Context(), p, state, Software{Self: "/proc/self/exe", HAProxy: "/haproxy"}))
		c, err := net.Dial("unix", filepath.Join(state, "hosts", "client", "agent.sock"))
		must(t, err)
		defer c.Close()
		data, err := io.ReadAll(c)
		must(t, err)
		return strings.Join(strings.Fields(string(data))[2:], " ")
	}
	if got, want := said(), `172.30.0.21:6443 { "cp": "172.30.0.11:6443", "w1": "172.30.0.12:6443" }`; got != want {
		t.Errorf("it balances %s, want %s", got, want)
	}
	first, err := HostPID("client", state)
	must(t, err)
	said()
	if again, _ := HostPID("client", state); again != first {
		t.Errorf("it was process %d, and is %d", first, again)
	}
	p.Machines[2].Role = topology.RoleControlPlane // w2
	if got := said(); !strings.Contains(got, `"w2": "172.30.0.13:6443"`) {
		t.Errorf("it balances %s", got)
	}
}
