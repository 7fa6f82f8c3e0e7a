package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// holds is a host with an address of its own and, if it holds it, the VIP.
func holds(vip bool) saying {
	more := ""
	if vip {
		more = `,{"family":"inet","local":"172.30.0.90","prefixlen":32}`
	}
	return saying(`echo '[{"ifname":"lo","addr_info":[{"local":"127.0.0.1"}]},{"ifname":"eth0","addr_info":[{"family":"inet","local":"172.30.0.100","prefixlen":24}` + more + `]}]'`)
}

func pair() topology.Plan {
	vrrp := &topology.VRRP{Priority: 200, VIPs: []topology.SharedVIP{{Network: "lan", NIC: "eth0", ID: 52, Address: netip.MustParseAddr("172.30.0.90")}}}
	return topology.Plan{Machines: []topology.Machine{{Name: "lb1", VRRP: vrrp}, {Name: "lb2", VRRP: vrrp}, {Name: "client"}}}
}

// Status has who holds each VIP: nobody, one host or, with a split brain, several. A host that is off is
// not asked, one that cannot be asked is a problem.
func TestSharedVIPsOf(t *testing.T) {
	for _, c := range []struct {
		lb1, lb2 saying
		off      []string
		holders  string
		problem  string
	}{
		{holds(true), holds(false), nil, "[lb1]", ""},
		{holds(true), holds(true), nil, "[lb1 lb2]", ""},
		{"exit 1", holds(true), []string{"lb1"}, "[lb2]", ""},
		{"exit 1", holds(false), nil, "[]", "VIPs of host lb1: ip address: exit status 1"},
		{"echo 5", holds(false), nil, "[]", "VIPs of host lb1: ip address: json"},
	} {
		running := providers.Running{Machines: map[string]providers.Machine{"lb1": c.lb1, "lb2": c.lb2, "client": saying("exit 1")}, Off: c.off}
		all, err := sharedVIPsOf(t.Context(), running, pair())
		if len(all) != 1 || fmt.Sprint(all[0].Holders) != c.holders || fmt.Sprint(all[0].Hosts) != "[lb1 lb2]" {
			t.Errorf("%s, %s: %+v", c.lb1, c.lb2, all)
		}
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("the error is %v, want %q", err, c.problem)
		}
	}
}

// `up` waits for the host that should hold a VIP, and says so only if another or nobody does.
func TestAwaitSharedVIPs(t *testing.T) {
	later := saying("f=" + t.TempDir() + "/asked; [ ! -e $f ] || " + string(holds(true)) + "; [ -e $f ] || " + string(holds(false)) + "; touch $f")
	for _, c := range []struct {
		lb1  saying
		want string
	}{{holds(true), ""}, {later, "shared VIPs <nil>"}} {
		var p steps
		awaitSharedVIPs(t.Context(), providers.Running{Machines: map[string]providers.Machine{"lb1": c.lb1, "lb2": holds(false)}}, pair(), &p)
		if got := strings.Join(p.ended, ", "); got != c.want {
			t.Errorf("the steps are %q, want %q", got, c.want)
		}
	}
}
