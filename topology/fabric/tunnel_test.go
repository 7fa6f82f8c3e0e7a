package fabric

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"netlab.dev/netlab/internal/hint"
)

// machines creates two machines out of namespaces, connected by a link with an MTU, and returns
// what runs a function on each.
func machines(t *testing.T, mtu string) (a, b func(func() error)) {
	t.Helper()
	must(t, makeDir())
	t.Cleanup(func() { must(t, releaseDir()) })
	at := func(name string) func(func() error) {
		run(t, "ip", "netns", "add", name)
		t.Cleanup(func() { run(t, "ip", "netns", "del", name) })
		return func(fn func() error) {
			t.Helper()
			ns, err := netns.GetFromName(name)
			must(t, err)
			defer ns.Close()
			must(t, inside(ns, fn))
		}
	}
	a, b = at("wire-a"), at("wire-b")
	run(t, "ip", "link", "add", "u0", "netns", "wire-a", "mtu", mtu, "type", "veth", "peer", "name", "u0", "netns", "wire-b", "mtu", mtu)
	for ns, address := range map[string]string{"wire-a": "198.18.0.1/30", "wire-b": "198.18.0.2/30"} {
		run(t, "ip", "-n", ns, "addr", "add", address, "dev", "u0")
		run(t, "ip", "-n", ns, "link", "set", "u0", "up")
		run(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	return a, b
}

// One network on two machines: packets of its full size pass between them, what one machine
// alone has does not, and nothing stays. The two fabrics have different names here, since
// both machines pin theirs in one directory.
func TestStretch(t *testing.T) {
	needRoot(t)
	snapshot(t)
	onA, onB := machines(t, "1550")
	p := quickstart("nlt-s-a")
	q := quickstart("nlt-s-b")
	p.Networks[0].VNI, q.Networks[0].VNI = 4711, 4711
	q.Networks, q.Machines = q.Networks[:1], q.Machines[:1] // cp, there
	p.Machines = p.Machines[3:]                             // the outside hosts, here
	endsA := VTEPs{"lan": {{netip.MustParseAddr("198.18.0.2"), "qemu+ssh://b/system"}}}
	endsB := VTEPs{"lan": {{netip.MustParseAddr("198.18.0.1"), "a"}}}
	create(t, p)
	create(t, q)
	echo(t, q.Lab, "cp")
	if saw, err := ask(t, p.Lab, "client", "tcp4", "172.30.0.11:7"); err == nil {
		t.Errorf("the machines reach each other before: %s", saw)
	}
	onA(func() error {
		changes, err := Stretched(p, endsA)
		if len(changes) != 1 || changes[0] != "stretch network lan by VXLAN 4711" {
			t.Errorf("before: %q", changes)
		}
		return errors.Join(err, CheckUnderlay(p, endsA))
	})
	for range 2 {
		onA(func() error { return Stretch(t.Context(), p, endsA) })
		onB(func() error { return Stretch(t.Context(), q, endsB) })
		noDiff(t, p)
		noDiff(t, q)
		onA(func() error {
			changes, err := Stretched(p, endsA)
			if len(changes) > 0 {
				t.Errorf("after: %q", changes)
			}
			return err
		})
	}
	conn, err := Dial(t.Context(), p.Lab, "client", "udp4", "172.30.0.11:7")
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Write(make([]byte, 1472)) // 1500 with the headers of UDP and IP
	must(t, err)
	saw := make([]byte, 20)
	if n, err := conn.Read(saw); err != nil || string(saw[:n]) != "172.30.0.21" {
		t.Errorf("the other machine saw %q (%v)", saw[:n], err)
	}
	for _, ns := range []string{"wire-a", "wire-b"} {
		if links := run(t, "ip", "-n", ns, "-o", "link"); strings.Contains(links, "vx-") {
			t.Errorf("the machine itself has got %s", links)
		}
	}
	if names, err := KnownEnds(p.Lab); err != nil || len(names) != 1 || names[0] != "qemu+ssh://b/system" {
		t.Errorf("ends: %v (%v)", names, err)
	}
	moved := VTEPs{"lan": {{netip.MustParseAddr("198.18.0.3"), "c"}}}
	onA(func() error {
		err := Stretch(t.Context(), p, moved)
		fdb := run(t, "ip", "netns", "exec", Name(p.Lab, ""), "bridge", "fdb", "show", "dev", tunnel("lan"))
		if !strings.Contains(fdb, "dst 198.18.0.3") || strings.Contains(fdb, "00:00:00:00:00:00 dst 198.18.0.2") {
			t.Errorf("with another end: %s", fdb)
		}
		return errors.Join(err, Stretch(t.Context(), p, nil))
	})
	if links := run(t, "ip", "-n", Name(p.Lab, ""), "-o", "link"); strings.Contains(links, "vxlan") {
		t.Errorf("with no end: %s", links)
	}
}

// Invalid endpoints are rejected, before anything is created and afterwards.
func TestStretchRefused(t *testing.T) {
	needRoot(t)
	onA, _ := machines(t, "1500")
	p := quickstart("nlt-s-c")
	p.Networks[0].VNI = 4711
	create(t, p)
	for _, c := range []struct{ address, want, hint string }{
		{"198.18.0.2", "packets of 1500 bytes are 1550 with VXLAN, the MTU of u0 is 1500", "set mtu: 1450 for the network, or an MTU of 1550 on the links of the machines"},
		{"198.18.0.1", "stretch network lan to 198.18.0.1: the address is that of this machine", "remove `hypervisor`"},
		{"198.19.0.1", "stretch network lan to 198.19.0.1: network is unreachable", ""},
	} {
		ends := VTEPs{"lan": {{netip.MustParseAddr(c.address), "b"}}}
		onA(func() error {
			for what, err := range map[string]error{"check": CheckUnderlay(p, ends), "stretch": Stretch(t.Context(), p, ends)} {
				todo := strings.Join(hint.Of(err), "; ")
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(todo, c.hint) {
					t.Errorf("%s: %v, %q; want %s", what, err, todo, c.want)
				}
			}
			return nil
		})
	}
	if _, err := os.Stat(Path(p.Lab, "")); err != nil {
		t.Error(err)
	}
}
