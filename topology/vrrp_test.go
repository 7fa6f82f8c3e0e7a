package topology

import (
	"fmt"
	"reflect"
	"testing"
)

// Two routers share the gateway of each of their networks, two load balancers a VIP of their first; the
// first of each has the higher priority.
func TestShared(t *testing.T) {
	plan := planOf(t, `
hosts:
- {name: r1, role: router, vrrp: true}
- {name: r2, role: router, vrrp: true}
- {name: lb1, role: load-balancer, networks: [lan, wan], vrrp: true}
- {name: lb2, role: load-balancer, networks: [lan, wan], vrrp: true}
- {name: client, role: client}
- {name: internet, role: internet}
`)
	want := "[{router lan 172.30.0.1 [r1 r2]} {router wan 203.0.113.1 [r1 r2]} {load-balancer lan 172.30.0.90 [lb1 lb2]}]"
	if got := fmt.Sprint(plan.Shared()); got != want {
		t.Errorf("shared are\n%s, want\n%s", got, want)
	}
	r2, _ := plan.Machine("r2")
	if want := (&VRRP{Priority: 199, VIPs: []SharedVIP{{"lan", "eth0", 51, address("172.30.0.1")}, {"wan", "eth1", 51, address("203.0.113.1")}}}); !reflect.DeepEqual(r2.VRRP, want) {
		t.Errorf("r2 has %+v, want %+v", r2.VRRP, want)
	}
	lb1, _ := plan.Machine("lb1")
	if want := (&VRRP{Priority: 200, VIPs: []SharedVIP{{"lan", "eth0", 52, address("172.30.0.90")}}}); !reflect.DeepEqual(lb1.VRRP, want) {
		t.Errorf("lb1 has %+v, want %+v", lb1.VRRP, want)
	}
	if lb1.Address() != address("172.30.0.100") || r2.Address() != address("172.30.0.3") {
		t.Errorf("lb1 is at %s, r2 at %s", lb1.Address(), r2.Address())
	}
	for _, n := range plan.Networks {
		if n.Gateway() != n.CIDR().Addr().Next() {
			t.Errorf("the gateway of %s is %s", n.Name, n.Gateway())
		}
	}
	shared := plan.Shared()[2]
	for off, want := range map[string]string{"": "lb1", "lb1": "lb2", "client": "lb1"} {
		if got := shared.Holder([]string{off}); got != want {
			t.Errorf("with %q off %q holds the VIP, want %q", off, got, want)
		}
	}
	if got := shared.Holder([]string{"lb1", "lb2"}); got != "" {
		t.Errorf("%q holds the VIP of hosts that are off", got)
	}
}

// Packets to a shared VIP go to the host that holds it if all are on, and by a shared gateway to
// the networks behind it.
func TestReachByShared(t *testing.T) {
	plan := planOf(t, `
networks: [{name: lan, cidr: 10.1.0.0/24}, {name: wan, cidr: 10.2.0.0/24}, {name: far, cidr: 10.3.0.0/24}]
hosts:
- {name: r1, role: router, networks: [lan, wan], vrrp: true}
- {name: r2, role: router, networks: [lan, wan], vrrp: true}
- {name: r3, role: router, networks: [wan, far]}
- {name: client, role: client, networks: [lan]}
- {name: there, role: client, networks: [far]}
`)
	way := Reach(plan, "client", address("10.3.0.100"))
	if got := fmt.Sprint(way.Routers()); !way.Reachable() || got != "[r1 r3]" {
		t.Errorf("to the far network by %s: %s", got, way.Reason)
	}
	r3, _ := plan.Machine("r3")
	if want := []Route{{prefix("10.1.0.0/24"), address("10.2.0.1")}}; !reflect.DeepEqual(r3.Routes, want) {
		t.Errorf("r3 has the routes %v, want %v", r3.Routes, want)
	}
	if way := Reach(plan, "client", address("10.1.0.1")); !way.OnLink() || way.There[0].To != "r1" {
		t.Errorf("to the VIP: %+v", way)
	}
}
