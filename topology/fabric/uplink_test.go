package fabric

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A network is connected to a bridge of this machine, which is unchanged after the lab is
// removed.
func TestUplink(t *testing.T) {
	needRoot(t)
	run(t, "ip", "link", "add", "br0", "type", "bridge")
	run(t, "ip", "link", "add", "lan0", "address", "f6:00:00:00:00:01", "type", "veth", "peer", "name", "lan1") // what the bridge has its address of
	for _, name := range []string{"br0", "lan0"} {
		run(t, "ip", "link", "set", name, "addrgenmode", "none")
	}
	run(t, "ip", "link", "set", "lan0", "up", "master", "br0")
	t.Cleanup(func() { run(t, "ip", "link", "del", "br0"); run(t, "ip", "link", "del", "lan0") })
	run(t, "ip", "addr", "add", "172.30.0.250/24", "dev", "br0")
	run(t, "ip", "link", "set", "br0", "up")
	snapshot(t)

	p := quickstart("nlt-u-a")
	create(t, p)
	p.Networks[0].Uplink = "br0"
	if diff, err := Diff(p); err != nil || len(diff) != 1 || diff[0] != "connect network lan to bridge br0" {
		t.Errorf("before: %q, %v", diff, err)
	}
	for range 2 {
		must(t, Create(t.Context(), p))
		noDiff(t, p)
	}
	if shown := run(t, "ip", "-o", "link", "show", "br0"); !strings.Contains(shown, "f6:00:00:00:00:01") {
		t.Errorf("the bridge is now %s", shown)
	}
	echo(t, p.Lab, "w1")
	conn, err := net.DialTimeout("tcp4", "172.30.0.12:7", 5*time.Second)
	must(t, err)
	saw := make([]byte, 20)
	n, _ := conn.Read(saw)
	conn.Close()
	if got := string(saw[:n]); got != "172.30.0.250" {
		t.Errorf("w1 saw %q", got)
	}
	run(t, "ip", "link", "del", uplinkPeer(p.Lab, "lan")) // as a user may
	if diff, err := Diff(p); err != nil || len(diff) != 1 {
		t.Errorf("without its link: %q, %v", diff, err)
	}
	must(t, Create(t.Context(), p))
	noDiff(t, p)
	p.Networks[0].Uplink = ""
	must(t, Create(t.Context(), p))
	noDiff(t, p)
	if links := run(t, "ip", "-o", "link"); strings.Contains(links, "nl-") {
		t.Errorf("after it was taken back: %s", links)
	}
	p.Networks[0].Uplink = "br0"
	must(t, Create(t.Context(), p)) // Delete takes it away too

	for _, c := range []struct {
		bridge string
		mtu    int
		want   string
	}{
		{"br9", 1500, "connect network storage to bridge br9: no such link on this machine"},
		{"lo", 1500, "connect network storage to bridge lo: the link is a "},
		{"br0", 1400, "connect network storage to bridge br0: MTU of the bridge is 1500, of the network 1400"},
	} {
		q := quickstart("nlt-u-b")
		q.Networks[1].Uplink, q.Networks[1].MTU = c.bridge, c.mtu
		for what, err := range map[string]error{"check": CheckUplinks(q), "create": Create(t.Context(), q)} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", what, err, c.want)
			}
		}
		must(t, Delete(t.Context(), q.Lab))
	}
	must(t, CheckUplinks(p))
}

// A network is VLAN 100 of a bridge: its frames are tagged there, those of another network on
// the same bridge are not, and both ports are removed with their networks. A kernel without
// VLANs is reported before anything is created.
func TestUplinkVLAN(t *testing.T) {
	needRoot(t)
	run(t, "ip", "link", "add", "br0", "type", "bridge")
	run(t, "ip", "link", "add", "office", "type", "veth", "peer", "name", "office-port")
	t.Cleanup(func() { run(t, "ip", "link", "del", "br0"); run(t, "ip", "link", "del", "office") })
	for _, name := range []string{"br0", "office", "office-port"} { // no address comes later by itself
		run(t, "ip", "link", "set", name, "addrgenmode", "none")
	}
	run(t, "ip", "link", "set", "office-port", "up", "master", "br0")
	run(t, "ip", "link", "set", "office", "up")
	run(t, "ip", "link", "set", "br0", "up")
	p := quickstart("nlt-u-vlan")
	p.Networks[0].Uplink, p.Networks[0].VLAN = "br0", 100
	p.Networks[1].Uplink = "br0"
	if err := tryVLAN(); errors.Is(err, unix.EOPNOTSUPP) {
		snapshot(t)
		err := CheckUplinks(p)
		if err == nil || err.Error() != "connect network lan to bridge br0, VLAN 100: operation not supported: the kernel has no CONFIG_VLAN_8021Q" {
			t.Errorf("check: %v", err)
		}
		if h, ok := err.(interface{ Hint() string }); !ok || !strings.HasPrefix(h.Hint(), "modprobe 8021q, or ") {
			t.Errorf("the hint of %v", err)
		}
		if err := Create(t.Context(), p); err == nil || !strings.Contains(err.Error(), "the kernel has no CONFIG_VLAN_8021Q") {
			t.Errorf("create: %v", err)
		}
		must(t, Delete(t.Context(), p.Lab))        // and snapshot finds nothing
		t.Log("the kernel does not support VLANs") // a virtual machine of providers/libvirt's tests has
		return
	}

	run(t, "ip", "link", "add", "link", "office", "name", "office.100", "type", "vlan", "id", "100")
	run(t, "ip", "link", "set", "office.100", "addrgenmode", "none")
	run(t, "ip", "addr", "add", "172.30.0.250/24", "dev", "office.100")
	run(t, "ip", "link", "set", "office.100", "up")
	run(t, "ip", "addr", "add", "172.31.0.250/24", "dev", "office")
	snapshot(t)
	must(t, CheckUplinks(p))
	create(t, p)
	noDiff(t, p)
	must(t, Create(t.Context(), p))
	echo(t, p.Lab, "w1")
	sees := func(address, want string) {
		t.Helper()
		conn, err := net.DialTimeout("tcp4", address+":7", 5*time.Second)
		must(t, err)
		saw := make([]byte, 20)
		n, _ := conn.Read(saw)
		conn.Close()
		if got := string(saw[:n]); got != want {
			t.Errorf("w1 saw %q at %s, want %s", got, address, want)
		}
	}
	sees("172.30.0.12", "172.30.0.250")
	sees("172.31.0.12", "172.31.0.250")
	if shown := run(t, "ip", "-o", "-d", "link", "show", "type", "vlan"); strings.Contains(shown, "tag-") {
		t.Errorf("the machine itself has a link that tags: %s", shown)
	}

	// In another VLAN the office does not answer; back in the first it does.
	p.Networks[0].VLAN = 101
	must(t, Create(t.Context(), p))
	noDiff(t, p)
	if conn, err := net.DialTimeout("tcp4", "172.30.0.12:7", 2*time.Second); err == nil {
		conn.Close()
		t.Error("VLAN 101 reaches VLAN 100")
	}
	p.Networks[0].VLAN = 100
	must(t, Create(t.Context(), p))
	sees("172.30.0.12", "172.30.0.250")

	// On a bridge that filters VLANs the lab's port becomes a member.
	run(t, "ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1")
	run(t, "bridge", "vlan", "add", "vid", "100", "dev", "office-port")
	p.Networks[0].Uplink = ""
	must(t, Create(t.Context(), p))
	p.Networks[0].Uplink = "br0"
	must(t, Create(t.Context(), p))
	noDiff(t, p)
	sees("172.30.0.12", "172.30.0.250")
	p.Networks[0].Uplink, p.Networks[0].VLAN, p.Networks[1].Uplink = "", 0, ""
	must(t, Create(t.Context(), p))
	noDiff(t, p)
	run(t, "ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "0")
}
