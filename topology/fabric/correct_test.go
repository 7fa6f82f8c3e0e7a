package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"netlab.dev/netlab/topology"
)

func TestCreateCorrects(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-fix")
	create(t, p)
	inodes := func() (s string) {
		for _, m := range p.Machines {
			n, _ := inode(Path(p.Lab, m.Name))
			s += fmt.Sprint(n, " ")
		}
		return s
	}
	before := inodes()
	change := func(machine string, fn func(*space) error) func() error {
		return func() error { return Enter(p.Lab, machine, func() error { return withSpace(fn) }) }
	}
	for _, c := range []struct {
		name   string
		damage func() error
		diff   string
	}{
		{"nothing", func() error { return nil }, ""},
		{"NIC gone", change("w1", func(s *space) error { return s.LinkDel(s.links["eth1"]) }), "plug eth1 of w1 into network storage"},
		{"port gone", change("", func(s *space) error { return s.LinkDel(s.links["p-cp-0"]) }), "plug eth0 of cp into network lan\nadd route to 0.0.0.0/0 via 172.30.0.1 to cp"},
		{"link down", change("client", func(s *space) error { return s.LinkSetDown(s.links["eth0"]) }), "set client eth0 up\nadd route to 0.0.0.0/0 via 172.30.0.1 to client"},
		{"address gone", change("internet", func(s *space) error {
			return s.AddrDel(s.links["eth0"], &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("203.0.113.12/24"))})
		}), "add address 203.0.113.12/24 to internet eth0\nadd route to 0.0.0.0/0 via 203.0.113.1 to internet"},
		{"MTU", change("w2", func(s *space) error { return s.LinkSetMTU(s.links["eth0"], 1400) }), "set MTU of w2 eth0 to 1500"},
		{"MAC", change("w2", func(s *space) error {
			return s.LinkSetHardwareAddr(s.links["eth0"], net.HardwareAddr{2, 1, 1, 1, 1, 1})
		}), "set MAC of w2 eth0 to 02:00:00:00:02:00"},
		{"bridge gone", change("", func(s *space) error { return s.LinkDel(s.links["br-wan"]) }), "add bridge br-wan of network wan"},
		{"port unplugged", change("", func(s *space) error { return s.LinkSetNoMaster(s.links["p-w1-0"]) }), "plug port p-w1-0 of w1 into network lan"},
		{"stray bridge", change("", func(s *space) error {
			return s.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-stray"}})
		}), "remove bridge br-stray from the fabric"},
		{"forwarding off", func() error {
			return Enter(p.Lab, "router", func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0) })
		}, "set net/ipv4/ip_forward of router to 1"},
		{"fabric gone", func() error { return unpin(Name(p.Lab, "")) }, "add fabric"},
	} {
		if err := c.damage(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var diff []string
		for range 100 { // a namespace without name goes in its own time
			var err error
			if diff, err = Diff(p); err != nil {
				t.Fatalf("%s: diff: %v", c.name, err)
			}
			if strings.Join(diff, "\n") == c.diff || c.name != "fabric gone" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := strings.Join(diff, "\n"); !strings.HasPrefix(got, c.diff) || c.diff == "" && got != "" {
			t.Errorf("%s: diff\n%s\nwant\n%s", c.name, got, c.diff)
		}
		if err := Create(t.Context(), p); err != nil {
			t.Fatalf("%s: create: %v", c.name, err)
		}
		noDiff(t, p)
	}
	echo(t, p.Lab, "internet")
	if got, err := ask(t, p.Lab, "w1", "tcp4", "203.0.113.12:7"); err != nil || got != "172.30.0.12" {
		t.Errorf("after all that: %q, %v", got, err)
	}
	if after := inodes(); after != before {
		t.Errorf("machines' namespaces were recreated: %s, before %s", after, before)
	}
}

func TestMachineAddedAndRemoved(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-scale")
	create(t, p)
	smaller := p
	smaller.Machines = append(append([]topology.Machine{}, p.Machines[:2]...), p.Machines[3:]...)
	for _, step := range []topology.Plan{smaller, p} {
		if err := Create(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		noDiff(t, step)
		if _, planned := step.Machine("w2"); pinned(Name(p.Lab, "w2")) != planned {
			t.Errorf("w2 pinned: %v, planned: %v", !planned, planned)
		}
	}
	diff, err := Diff(smaller)
	want := "remove machine w2\nremove veth p-w2-0 from the fabric\nremove veth p-w2-1 from the fabric"
	if got := strings.Join(diff, "\n"); err != nil || got != want {
		t.Errorf("diff %q, %v\nwant %q", got, err, want)
	}
}

// What the user added to a NIC (a VIP of keepalived or kube-vip, a route) is left alone and is no
// difference; an address that an earlier plan gave is removed.
func TestAddedAddressStays(t *testing.T) {
	needRoot(t)
	p := quickstart("nlt-d-added")
	create(t, p)
	added := []string{"172.30.0.250/32", "172.30.0.99/24"}
	in := func(fn func(*space) error) {
		t.Helper()
		must(t, Enter(p.Lab, "cp", func() error { return withSpace(fn) }))
	}
	in(func(s *space) error {
		for _, a := range added {
			if err := s.AddrAdd(s.links["eth0"], &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(a))}); err != nil {
				return err
			}
		}
		return s.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("192.0.2.0/24")), Gw: net.IPv4(172, 30, 0, 12).To4()})
	})
	addresses := func() (all []string) {
		in(func(s *space) error {
			list, err := s.AddrList(s.links["eth0"], netlink.FAMILY_V4)
			for _, a := range list {
				all = append(all, a.IPNet.String())
			}
			routes, err2 := s.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: ipNet(netip.MustParsePrefix("192.0.2.0/24"))}, netlink.RT_FILTER_DST)
			if len(routes) != 1 {
				t.Errorf("the added route was removed: %v", routes)
			}
			return errors.Join(err, err2)
		})
		slices.Sort(all)
		return all
	}
	noDiff(t, p)
	create(t, p)
	own := p.Machines[0].NICs[0].Addresses[0].String()
	want := slices.Sorted(slices.Values(append(added, own)))
	if got := addresses(); !slices.Equal(got, want) {
		t.Errorf("addresses of cp are %q, want %q", got, want)
	}

	moved := p
	moved.Machines = slices.Clone(p.Machines)
	moved.Machines[0].NICs = slices.Clone(p.Machines[0].NICs)
	moved.Machines[0].NICs[0].Addresses = []netip.Prefix{netip.MustParsePrefix("172.30.0.77/24")}
	diff, err := Diff(moved)
	if text := "remove address " + own + " from cp eth0\nadd address 172.30.0.77/24 to cp eth0"; err != nil || strings.Join(diff, "\n") != text {
		t.Errorf("diff %q (%v), want %q", diff, err, text)
	}
	must(t, Create(t.Context(), moved))
	want = slices.Sorted(slices.Values(append(added, "172.30.0.77/24")))
	if got := addresses(); !slices.Equal(got, want) {
		t.Errorf("addresses of cp are %q, want %q", got, want)
	}
}
