package fabric

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"net"

	"netlab.dev/netlab/topology"
)

func TestHostAddress(t *testing.T) {
	for _, c := range []struct {
		name, cidr string
		used       []string
		pools      []string // first, last
		want       string
	}{
		{"highest", "172.30.0.0/24", nil, nil, "172.30.0.254/24"},
		{"machine has it", "172.30.0.0/24", []string{"172.30.0.254"}, nil, "172.30.0.253/24"},
		{"below a pool", "172.30.0.0/24", nil, []string{"172.30.0.200", "172.30.0.255"}, "172.30.0.199/24"},
		{"between pools", "172.30.0.0/24", []string{"172.30.0.254"}, []string{"172.30.0.240", "172.30.0.253", "172.30.0.9", "172.30.0.238"}, "172.30.0.239/24"},
		{"large network", "10.0.0.0/8", nil, []string{"10.1.0.0", "10.255.255.255"}, "10.0.255.255/8"},
		{"gateway has it", "10.0.0.0/30", []string{"10.0.0.1"}, nil, ""},
		{"all is pool", "10.0.0.0/24", nil, []string{"10.0.0.0", "10.0.0.255"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cidr := netip.MustParsePrefix(c.cidr)
			p := topology.Plan{Networks: []topology.Network{{Name: "lan", CIDRs: []netip.Prefix{cidr}, Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}}}
			for _, u := range c.used {
				p.Machines = append(p.Machines, topology.Machine{NICs: []topology.NIC{{Addresses: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(u), cidr.Bits())}}}})
			}
			for i := 0; i < len(c.pools); i += 2 {
				p.LoadBalancer.Pools = append(p.LoadBalancer.Pools, topology.Pool{First: netip.MustParseAddr(c.pools[i]), Last: netip.MustParseAddr(c.pools[i+1])})
			}
			got, err := HostAddress(p)
			if c.want == "" {
				if err == nil {
					t.Errorf("got %s, want an error", got)
				}
				return
			}
			if err != nil || got.String() != c.want {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

// This machine's end of the link is removed even where the fabric is unpinned and its namespace
// is kept alive.
func TestDeleteRemovesHostAccess(t *testing.T) {
	needRoot(t)
	snapshot(t)
	p := quickstart("nlt-d-hostend")
	create(t, p)
	must(t, HostAccess(t.Context(), p, true))
	l, err := Listen(t.Context(), p.Lab, "", "tcp4", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	must(t, unpin(Name(p.Lab, "")))
	if links := run(t, "ip", "-o", "link"); !strings.Contains(links, HostLink(p.Lab)) {
		t.Fatalf("the link went with a name: %s", links)
	}
	must(t, Delete(t.Context(), p.Lab))
	if links := run(t, "ip", "-o", "link"); strings.Contains(links, HostLink(p.Lab)) {
		t.Errorf("left: %s", links)
	}
}

func TestHostAccess(t *testing.T) {
	needRoot(t)
	snapshot(t)
	a, b := quickstart("nlt-d-ha"), quickstart("nlt-d-hb")
	create(t, a)
	create(t, b)
	a.HostAccess = true
	if diff, err := Diff(a); err != nil || len(diff) != 1 || diff[0] != "add host access" {
		t.Errorf("before: %q, %v", diff, err)
	}
	echo(t, a.Lab, "w1")
	for range 2 {
		must(t, HostAccess(t.Context(), a, true))
	}
	noDiff(t, a) // its port is not removed as unknown
	must(t, Create(t.Context(), a))
	conn, err := net.DialTimeout("tcp4", "172.30.0.12:7", time.Second) // in the scratch machine
	must(t, err)
	saw := make([]byte, 20)
	n, _ := conn.Read(saw)
	conn.Close()
	if got := string(saw[:n]); got != "172.30.0.254" {
		t.Errorf("w1 saw %q", got)
	}
	if routes := run(t, "ip", "-o", "route"); routes != "172.30.0.0/24 dev "+HostLink(a.Lab)+" proto kernel scope link src 172.30.0.254" {
		t.Errorf("the machine's routes: %s", routes)
	}

	err = HostAccess(t.Context(), b, true)
	hinted, ok := err.(interface{ Hint() string })
	if !ok || !strings.Contains(hinted.Hint(), "lab "+a.Lab.String()+" ") {
		t.Errorf("second lab on the same network: %v", err)
	}
	must(t, HostAccess(t.Context(), a, false))
	if links := run(t, "ip", "-o", "link"); strings.Contains(links, "nl-") {
		t.Errorf("after off: %s", links)
	}
	must(t, HostAccess(t.Context(), b, true))

	must(t, withSpace(func(s *space) error { // whatever else routes there
		return s.AddrAdd(s.links["lo"], addr("172.30.0.128/25"))
	}))
	err = HostAccess(t.Context(), a, true)
	if hinted, ok := err.(interface{ Hint() string }); !ok || hinted.Hint() == "" {
		t.Errorf("network of the machine itself: %v", err)
	}
	must(t, withSpace(func(s *space) error { return s.AddrDel(s.links["lo"], addr("172.30.0.128/25")) }))
}
