package fabric

import (
	"net"
	"strings"
	"testing"
	"time"
)

// A network is joined with a bridge of the machine's own, which goes on as it was when the
// lab lets go of it.
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
	if diff, err := Diff(p); err != nil || len(diff) != 1 || diff[0] != "join network lan with bridge br0" {
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
	run(t, "ip", "link", "del", joint(p.Lab, "lan")) // by whoever tidies up the machine
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
		{"br9", 1500, "join network storage with bridge br9: this machine has no link of this name"},
		{"lo", 1500, "join network storage with bridge lo: it is a "},
		{"br0", 1400, "join network storage with bridge br0: its MTU is 1500, the network's 1400"},
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
