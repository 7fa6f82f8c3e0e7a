package topology

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The static routes of machines: through several routers, and to a gateway outside the lab.
func TestRoutes(t *testing.T) {
	const nodes = "nodes: [{name: cp, role: control-plane, networks: [lan]}, {name: w, role: worker, networks: [lan, storage]}]\n"
	for _, c := range []struct {
		name, text string
		want       map[string]string
	}{
		{"a client behind two routers", "networks: [{name: lan, cidr: 10.1.0.0/24}, {name: storage, cidr: 10.2.0.0/24}, {name: transit, cidr: 10.3.0.0/29}, {name: office, cidr: 10.4.0.0/24}]\n" + nodes +
			"hosts: [{name: r1, role: router, networks: [lan, transit]}, {name: r2, role: router, networks: [office, transit]}, {name: desk, role: client, networks: [office]}, {name: between, role: client, networks: [transit]}]\n",
			map[string]string{
				"cp": "0.0.0.0/0>10.1.0.1", "w": "0.0.0.0/0>10.1.0.1", "r1": "10.4.0.0/24>10.3.0.2", "r2": "10.1.0.0/24>10.3.0.1",
				"desk": "0.0.0.0/0>10.4.0.1", "between": "0.0.0.0/0>10.3.0.1 10.4.0.0/24>10.3.0.2",
			}},
		{"two routers that share no network", "networks: [{name: lan, cidr: 10.1.0.0/24}, {name: storage, cidr: 10.2.0.0/24}, {name: wan, cidr: 10.3.0.0/24}, {name: backup, cidr: 10.4.0.0/24}]\n" + nodes +
			"hosts: [{name: r1, role: router, networks: [lan, wan]}, {name: r2, role: router, networks: [storage, backup]}, {name: vault, role: client, networks: [backup]}]\n",
			map[string]string{"cp": "0.0.0.0/0>10.1.0.1", "w": "0.0.0.0/0>10.1.0.1 10.4.0.0/24>10.2.0.1", "r1": "", "vault": "0.0.0.0/0>10.4.0.1"}},
		{"a gateway on the bridge, and a router of the lab", "networks: [{name: lan, cidr: 10.1.0.0/24, bridge: br0, gateway: 10.1.0.1}, {name: storage, cidr: 10.2.0.0/24}, {name: wan, cidr: 10.3.0.0/24}]\n" + nodes +
			"hosts: [{name: router, role: router, networks: [lan, wan]}, {name: internet, role: internet, networks: [wan]}]\n",
			map[string]string{"cp": "0.0.0.0/0>10.1.0.1 10.3.0.0/24>10.1.0.2", "router": "0.0.0.0/0>10.1.0.1", "internet": "0.0.0.0/0>10.3.0.1"}},
		{"a gateway on the bridge alone", "networks: [{name: lan, cidr: 10.1.0.0/24, bridge: br0, gateway: 10.1.0.10}, {name: storage, cidr: 10.2.0.0/24}]\n" + nodes + "hosts: []\n",
			map[string]string{"cp": "0.0.0.0/0>10.1.0.10"}},
	} {
		plan := planOf(t, c.text)
		for name, want := range c.want {
			m, _ := plan.Machine(name)
			var got []string
			for _, r := range m.Routes {
				got = append(got, fmt.Sprintf("%s>%s", r.To, r.Via))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %s has the routes %q, want %q", c.name, name, got, want)
			}
		}
		for _, m := range plan.Machines {
			for _, n := range plan.Networks {
				if n.External && slices.Contains(m.Addresses(), n.Gateway()) {
					t.Errorf("%s: %s has the gateway's address", c.name, m.Name)
				}
			}
		}
	}
}

// What is beyond a gateway outside the lab is reachable as far as is known, but for networks of
// the lab.
func TestReachBeyondGateway(t *testing.T) {
	plan := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24, bridge: br0, gateway: 10.1.0.1}, {name: wan, cidr: 10.3.0.0/24}]
hosts: [{name: client, role: client, networks: [wan]}]
`)
	if way := Reach(plan, "w1", address("198.51.100.7")); !way.Reachable() || way.Source != address("10.1.0.11") {
		t.Errorf("beyond the gateway: %+v", way)
	}
	want := "w1 routes 10.3.0.0/24 via gateway 10.1.0.1 of network lan, which is not the lab's"
	if way := Reach(plan, "w1", address("10.3.0.100")); way.Reason != want {
		t.Errorf("a network of the lab beyond the gateway: %q, want %q", way.Reason, want)
	}
}
