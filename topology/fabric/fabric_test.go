package fabric

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

func TestReachability(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-reach")
	create(t, p)
	noDiff(t, p)
	for _, m := range []string{"w1", "internet", "client"} {
		echo(t, p.Lab, m)
	}
	for _, c := range []struct{ from, to, sees string }{
		{"cp", "172.30.0.12:7", "172.30.0.11"},        // lan
		{"client", "172.30.0.12:7", "172.30.0.21"},    // lan
		{"w2", "172.31.0.12:7", "172.31.0.13"},        // storage
		{"w1", "203.0.113.12:7", "172.30.0.12"},       // lan → router → wan, unchanged source
		{"internet", "172.30.0.21:7", "203.0.113.12"}, // wan → router → lan
	} {
		for _, network := range []string{"tcp4", "udp4"} {
			got, err := ask(t, p.Lab, c.from, network, c.to)
			if err != nil || got != c.sees {
				t.Errorf("%s → %s/%s: server saw %q, %v; want %q", c.from, c.to, network, got, err, c.sees)
			}
		}
	}
	loopback, err := Listen(t.Context(), p.Lab, "cp", "tcp6", "[::1]:0") // IPv6 there, and there only
	if err != nil {
		t.Fatal(err)
	}
	loopback.Close()
	if v6 := run(t, "nsenter", "--net="+Path(p.Lab, "cp"), "ip", "-o", "-6", "addr", "show", "dev", "eth0"); v6 != "" {
		t.Errorf("cp has %s", v6)
	}
	for _, m := range p.Machines { // no way out, and none from the fabric itself
		if _, err := ask(t, p.Lab, m.Name, "tcp4", "192.0.2.1:7"); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%s → 192.0.2.1: %v, want network unreachable", m.Name, err)
		}
	}
	for _, m := range []string{"", "cp", "client"} { // storage joins only w1 and w2
		if _, err := ask(t, p.Lab, m, "tcp4", "172.31.0.12:7"); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%q → storage: %v, want network unreachable", m, err)
		}
	}
}

// What topology decides for a real lab becomes a fabric that needs no correction.
func TestBuiltPlan(t *testing.T) {
	needRoot(t)
	p, err := topology.Build(labs.Default(labs.MustName("nlt-d-built"), labstest.Known()))
	must(t, err)
	create(t, p)
	noDiff(t, p)
	client, internet := p.WithRole(topology.RoleClient)[0], p.WithRole(topology.RoleInternet)[0]
	echo(t, p.Lab, internet.Name)
	for _, from := range append(p.Nodes(), client) {
		got, err := ask(t, p.Lab, from.Name, "tcp4", internet.Address().String()+":7")
		if want := from.Address().String(); err != nil || got != want {
			t.Errorf("%s → internet: server saw %q, %v; want %q", from.Name, got, err, want)
		}
	}
}

// Creating and deleting a lab causes no link event in this machine's namespace.
func TestOwnNamespaceSeesNothing(t *testing.T) {
	needRoot(t)
	events, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	if err := netlink.LinkSubscribe(events, done); err != nil {
		t.Fatal(err)
	}
	defer close(done)
	p := quickstart("nlt-d-quiet")
	create(t, p)
	must(t, Delete(t.Context(), p.Lab))
	must(t, withSpace(func(s *space) error { // proves that events do arrive
		return s.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-mark"}})
	}))
	if e := <-events; e.Attrs().Name != "br-mark" {
		t.Errorf("first event is of %s", e.Attrs().Name)
	}
	run(t, "ip", "link", "del", "br-mark")
}

func TestMTU(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-mtu")
	p.Networks[1].MTU = 9000
	for i := range p.Machines {
		for j := range p.Machines[i].NICs {
			if n := &p.Machines[i].NICs[j]; n.Network == "storage" {
				n.MTU = 9000
			}
		}
	}
	create(t, p)
	echo(t, p.Lab, "w1")
	echo(t, p.Lab, "internet")
	send := func(from, to string, size int) error {
		conn, err := Dial(t.Context(), p.Lab, from, "udp4", to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		raw, err := conn.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(make([]byte, size-28)); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		_, err = conn.Read(make([]byte, 100))
		return err
	}
	for _, c := range []struct {
		from, to string
		mtu      int
	}{{"cp", "172.30.0.12:7", 1500}, {"w2", "172.31.0.12:7", 9000}, {"cp", "203.0.113.12:7", 1500}} {
		if err := send(c.from, c.to, c.mtu); err != nil {
			t.Errorf("%s → %s, %d bytes: %v", c.from, c.to, c.mtu, err)
		}
		if err := send(c.from, c.to, c.mtu+1); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("%s → %s, %d bytes: %v, want message too long", c.from, c.to, c.mtu+1, err)
		}
	}
}

// A bridge keeps the MTU of its network when all machines of the network are off.
func TestMTUWithoutPorts(t *testing.T) {
	needRoot(t)
	for _, mtu := range []int{1400, 1500, 9000} {
		p := quickstart("nlt-d-ports")
		p.Networks[1].MTU = mtu
		var ports []string
		for i := range p.Machines {
			for j := range p.Machines[i].NICs {
				if n := &p.Machines[i].NICs[j]; n.Network == "storage" {
					n.MTU = mtu
					ports = append(ports, n.Port)
				}
			}
		}
		create(t, p)
		if len(ports) == 0 {
			t.Fatal("no machine is on storage")
		}
		inFabric := func(fn func(*space) error) {
			t.Helper()
			must(t, Enter(p.Lab, "", func() error { return withSpace(fn) }))
		}
		inFabric(func(s *space) error {
			for _, port := range ports {
				if err := s.LinkDel(s.links[port]); err != nil {
					return err
				}
			}
			return nil
		})
		inFabric(func(s *space) error {
			if is := s.links[p.Networks[1].Bridge].Attrs().MTU; is != mtu {
				return fmt.Errorf("without ports the bridge has MTU %d, want %d", is, mtu)
			}
			return nil
		})
		must(t, Delete(t.Context(), p.Lab))
	}
}

// VXLAN over the fabric carries TCP with checksums left to the far end, and payloads
// far beyond one packet.
func TestVXLAN(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-vxlan")
	create(t, p)
	overlay := func(machine, peer, address string) {
		err := Enter(p.Lab, machine, func() error {
			return withSpace(func(s *space) error {
				attrs := netlink.NewLinkAttrs()
				attrs.Name, attrs.MTU = "vx", 1450
				vx := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: 8472, Group: net.ParseIP(peer), VtepDevIndex: s.links["eth0"].Attrs().Index}
				if err := s.LinkAdd(vx); err != nil {
					return err
				}
				if err := s.AddrAdd(vx, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(address))}); err != nil {
					return err
				}
				return s.LinkSetUp(vx)
			})
		})
		if err != nil {
			t.Skipf("this kernel makes no VXLAN link: %v", err)
		}
	}
	overlay("w1", "172.30.0.13", "10.1.0.1/24")
	overlay("w2", "172.30.0.12", "10.1.0.2/24")
	noDiff(t, p) // a CNI's link is none of ours

	l, err := Listen(t.Context(), p.Lab, "w1", "tcp4", "10.1.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 4 << 20
	got := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := Dial(ctx, p.Lab, "w2", "tcp4", "10.1.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if n := <-got; n != size {
		t.Fatalf("received %d bytes of %d", n, size)
	}
}

func TestTwoLabsSameNetworks(t *testing.T) {
	needRoot(t)
	a, b := quickstart("nlt-d-two"), quickstart("nlt-d-two-b")
	done := make(chan error)
	for _, p := range []topology.Plan{a, b, a, b} {
		t.Cleanup(func() { Delete(context.Background(), p.Lab) })
		go func() { done <- Create(t.Context(), p) }()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	echo(t, a.Lab, "w1")
	if got, err := ask(t, a.Lab, "cp", "tcp4", "172.30.0.12:7"); err != nil || got != "172.30.0.11" {
		t.Errorf("in its own lab: %q, %v", got, err)
	}
	if _, err := ask(t, b.Lab, "cp", "tcp4", "172.30.0.12:7"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("from the other lab: %v, want its own w1 to refuse", err)
	}
	if err := Delete(t.Context(), a.Lab); err != nil {
		t.Fatal(err)
	}
	noDiff(t, b)
}

func TestCommand(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-cmd")
	create(t, p)
	want, err := inode(Path(p.Lab, "w1"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := command(t, p.Lab, "w1", "readlink", "/proc/self/ns/net").CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != fmt.Sprintf("net:[%d]", want) {
		t.Errorf("%q, %v; want namespace %d", got, err, want)
	}
}

// A failing function or one that exits its goroutine must neither hang nor leave a
// thread in the wrong namespace.
func TestEnterGivesThreadsBack(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-enter")
	create(t, p)
	own, err := inode("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		Enter(p.Lab, "w1", func() error {
			if i%10 == 0 {
				select {
				case <-t.Context().Done():
				case <-time.After(time.Millisecond):
				}
			}
			return errors.New("no")
		})
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(tasks) == 0 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		if got, err := inode(task); err == nil && got != own {
			t.Errorf("%s is %d, want %d", task, got, own)
		}
	}
	if err := Enter(p.Lab, "nobody", func() error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unknown machine: %v", err)
	}
}

func BenchmarkCreateDelete(b *testing.B) {
	needRoot(b)
	p := quickstart("nlt-d-bench")
	var creating, again, deleting time.Duration
	for b.Loop() {
		start := time.Now()
		if err := Create(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		made := time.Now()
		if err := Create(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		same := time.Now()
		if err := Delete(b.Context(), p.Lab); err != nil {
			b.Fatal(err)
		}
		creating, again, deleting = creating+made.Sub(start), again+same.Sub(made), deleting+time.Since(same)
	}
	for name, d := range map[string]time.Duration{"create": creating, "recreate": again, "delete": deleting} {
		b.ReportMetric(float64(d.Milliseconds())/float64(b.N), name+"-ms/op")
	}
}
