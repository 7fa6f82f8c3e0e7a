package fabric

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// The tests run in an isolated machine: TestMain starts the test program again in
// new network, mount and pid namespaces with a fresh /run and /proc. What they leave
// behind affects nothing else, and HostAccess has a machine to change.
const inScratch = "NETLAB_FABRIC_TEST"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "create" { // to be killed at it
		if err := Create(context.Background(), quickstart(os.Args[2])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Geteuid() != 0 || os.Getenv(inScratch) != "" {
		if os.Getenv(inScratch) != "" {
			if err := scratch(); err != nil {
				fmt.Fprintln(os.Stderr, "scratch machine:", err)
				os.Exit(2)
			}
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inScratch+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func scratch() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := detachRun(); err != nil {
		return err
	}
	if err := unix.Mount("scratch", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	return withSpace(func(s *space) error { return s.LinkSetUp(s.links["lo"]) })
}

// detachRun unmounts what the real machine has below /run. The kernel takes a mount out of
// every mount namespace when its mount point is unlinked: a lab that another test removes
// would be counted as lost here.
func detachRun() error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, line := range slices.Backward(lines) { // those mounted last first
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, "/run/") {
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s: %w", at, err)
			}
		}
	}
	return nil
}

func addr(s string) *netlink.Addr {
	a, err := netlink.ParseAddr(s)
	if err != nil {
		panic(err)
	}
	return a
}

// command prepares a program to run in a machine's network namespace.
func command(t testing.TB, lab labs.Name, machine string, argv ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=" + Path(lab, machine), "--"}, argv...)...)
}

func pid(cmd *exec.Cmd) string { return strconv.Itoa(cmd.Process.Pid) }

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getenv(inScratch) == "" {
		t.Skip("needs root: makes network namespaces")
	}
}

// quickstart is the plan of three Nodes and three outside hosts on three networks.
func quickstart(lab string) topology.Plan {
	p := topology.Plan{
		Lab: labs.MustName(lab),
		Networks: []topology.Network{
			{Name: "lan", CIDRs: []netip.Prefix{netip.MustParsePrefix("172.30.0.0/24")}, MTU: 1500, Bridge: "br-lan", Gateways: []netip.Addr{netip.MustParseAddr("172.30.0.1")}},
			{Name: "storage", CIDRs: []netip.Prefix{netip.MustParsePrefix("172.31.0.0/24")}, MTU: 1500, Bridge: "br-storage"},
			{Name: "wan", CIDRs: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, MTU: 1500, Bridge: "br-wan", Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1")}},
		},
		LoadBalancer: topology.LoadBalancer{Pools: []topology.Pool{
			{Network: "lan", First: netip.MustParseAddr("172.30.0.200"), Last: netip.MustParseAddr("172.30.0.219")},
		}},
		Names: map[string][]netip.Addr{"internet.outside.test.": {netip.MustParseAddr("203.0.113.12")}},
	}
	lanToWan := topology.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("172.30.0.1")}
	wanToLan := topology.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("203.0.113.1")}
	add := func(name, kind, role string, forward bool, route *topology.Route, addrs ...string) {
		m := topology.Machine{Name: name, Kind: kind, Role: role, Forward: forward}
		for i, a := range addrs {
			addr := netip.MustParsePrefix(a)
			for _, n := range p.Networks {
				if n.CIDR() == addr.Masked() {
					at := len(p.Machines)
					m.NICs = append(m.NICs, topology.NIC{
						Name: fmt.Sprintf("eth%d", i), Network: n.Name, Addresses: []netip.Prefix{addr}, MTU: n.MTU,
						MAC: fmt.Sprintf("02:00:00:00:%02x:%02x", at, i), Port: fmt.Sprintf("p-%s-%d", name, i),
					})
				}
			}
		}
		if route != nil {
			m.Routes = append(m.Routes, *route)
		}
		p.Machines = append(p.Machines, m)
	}
	add("cp", topology.KindNode, topology.RoleControlPlane, true, &lanToWan, "172.30.0.11/24")
	add("w1", topology.KindNode, topology.RoleWorker, true, &lanToWan, "172.30.0.12/24", "172.31.0.12/24")
	add("w2", topology.KindNode, topology.RoleWorker, true, &lanToWan, "172.30.0.13/24", "172.31.0.13/24")
	add("router", topology.KindHost, topology.RoleRouter, true, nil, "172.30.0.1/24", "203.0.113.1/24")
	add("client", topology.KindHost, topology.RoleClient, false, &lanToWan, "172.30.0.21/24")
	add("internet", topology.KindHost, topology.RoleInternet, false, &wanToLan, "203.0.113.12/24")
	return p
}

func create(t testing.TB, p topology.Plan) {
	t.Helper()
	t.Cleanup(func() {
		if err := Delete(context.Background(), p.Lab); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
	if err := Create(t.Context(), p); err != nil {
		t.Fatalf("create: %v", err)
	}
}

func noDiff(t testing.TB, p topology.Plan) {
	t.Helper()
	if diff, err := Diff(p); err != nil || len(diff) != 0 {
		t.Fatalf("diff after create: %q, %v", diff, err)
	}
}

// echo answers one TCP connection and one datagram on the machine's port 7 with the
// address that it saw.
func echo(t *testing.T, lab labs.Name, machine string) {
	t.Helper()
	l, err := Listen(t.Context(), lab, machine, "tcp4", "0.0.0.0:7")
	if err != nil {
		t.Fatal(err)
	}
	var udp net.PacketConn
	if err := Enter(lab, machine, func() (err error) {
		udp, err = net.ListenPacket("udp4", "0.0.0.0:7")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); udp.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			io.WriteString(c, host)
			c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 2000)
		for {
			_, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			udp.WriteTo([]byte(host), from)
		}
	}()
}

// ask returns what the far end answered.
func ask(t *testing.T, lab labs.Name, machine, network, address string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := Dial(ctx, lab, machine, network, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if strings.HasPrefix(network, "udp") {
		if _, err := conn.Write([]byte("?")); err != nil {
			return "", err
		}
	}
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}
