package topology

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs/labstest"
)

// planOf builds the plan of a lab file that lacks its header.
func planOf(t *testing.T, text string) Plan {
	t.Helper()
	if !strings.Contains(text, "kind: Lab") {
		text = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: reach}\n" + text
	}
	plan, err := Load("reach.yaml", []byte(text), labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func scenario(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../scenarios/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// text formats a result as in the table: source, hops there, hops back, MTU.
func (w Reachability) text() string {
	hops := func(hops []Hop) string {
		var out []string
		for _, h := range hops {
			out = append(out, fmt.Sprintf("%s.%s>%s>%s.%s", h.From, h.Out, h.Network, h.To, h.In))
		}
		return strings.Join(out, " ")
	}
	if w.Reason != "" {
		return w.Reason
	}
	return fmt.Sprintf("%s: %s; %s; %d", w.Source, hops(w.There), hops(w.Back), w.MTU)
}

func TestReach(t *testing.T) {
	const nodes = `nodes: [{name: cp, role: control-plane, networks: [lan]}, {name: w, role: worker, networks: [lan]}]
`
	oneLAN := planOf(t, "networks: [{name: lan, cidr: 172.30.0.0/24}]\n")
	routed := planOf(t, scenario(t, "routed-client"))
	jumbo := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24, mtu: 9000}, {name: wan, cidr: 10.2.0.0/24, mtu: 1400}]
`)
	twoRouters := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24}, {name: wan, cidr: 10.2.0.0/24}, {name: office, cidr: 10.3.0.0/24}, {name: home, cidr: 10.4.0.0/24}]
`+nodes+`hosts: [{name: r1, role: router, networks: [lan, wan]}, {name: r2, role: router, networks: [office, home]}, {name: desk, role: client, networks: [office]}, {name: sofa, role: client, networks: [home]}]
`)
	// The first network has no router; the Nodes' default route leads over their second.
	secondNetwork := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24}, {name: side, cidr: 10.2.0.0/24}, {name: wan, cidr: 10.3.0.0/24}]
nodes: [{name: cp, role: control-plane, networks: [lan]}, {name: w, role: worker, networks: [lan, side]}]
hosts: [{name: router, role: router, networks: [side, wan]}, {name: client, role: client, networks: [wan]}, {name: beside, role: client, networks: [lan]}]
`)
	threeNICs := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24}, {name: storage, cidr: 10.2.0.0/24, mtu: 9000}, {name: wan, cidr: 10.3.0.0/24}]
nodes: [{name: cp, role: control-plane, networks: [lan]}, {name: w, role: worker, networks: [lan, storage, wan]}]
hosts: [{name: router, role: router, networks: [lan, wan]}, {name: client, role: client, networks: [wan]}, {name: disk, role: client, networks: [storage]}]
loadBalancer: {pools: [10.3.0.200-10.3.0.210]}
`)
	unjoined := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24}, {name: wan, cidr: 10.2.0.0/24}, {name: island, cidr: 10.3.0.0/24}]
`+nodes+`hosts: [{name: router, role: router, networks: [lan, wan]}, {name: client, role: client, networks: [island]}, {name: both, role: client, networks: [lan, island]}]
`)
	isolated := planOf(t, scenario(t, "isolated"))
	joined := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24, bridge: br0}, {name: wan, cidr: 10.2.0.0/24}]
`)
	// A client behind two routers, one of which is a host that forwards.
	twoHops := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24}, {name: transit, cidr: 10.2.0.0/24, mtu: 1400}, {name: office, cidr: 10.3.0.0/24}]
`+nodes+`hosts: [{name: r1, role: router, networks: [lan, transit]}, {name: r2, role: client, networks: [office, transit]}, {name: desk, role: client, networks: [office]}]
`)
	oneWay := twoHops.edit(func(m *Machine) {
		if m.Name == "r2" {
			m.Forward = true
		}
		if m.Name == "desk" {
			m.Routes = []Route{{prefix("0.0.0.0/0"), address("10.3.0.100")}}
		}
	})
	bothWays := oneWay.edit(func(m *Machine) {
		if m.Name == "r1" {
			m.Routes = []Route{{prefix("10.0.0.0/8"), address("10.2.0.77")}, {prefix("10.3.0.0/24"), address("10.2.0.100")}}
		}
	})
	loop := bothWays.edit(func(m *Machine) {
		if m.Name == "r2" {
			m.Routes = []Route{{prefix("0.0.0.0/0"), address("10.2.0.1")}}
		}
		if m.Name == "r1" {
			m.Routes = []Route{{prefix("0.0.0.0/0"), address("10.2.0.100")}}
		}
	})

	bgp := planOf(t, scenario(t, "metallb-bgp"))
	farBGP := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24}, {name: wan, cidr: 10.2.0.0/24}, {name: office, cidr: 10.3.0.0/24}]
`+nodes+`hosts: [{name: r1, role: router, networks: [lan, wan]}, {name: r2, role: router, networks: [wan, office]}, {name: desk, role: client, networks: [office]}, {name: alone, role: client, networks: [wan]}]
loadBalancer: {mode: bgp, pools: [10.9.0.0/24]}
`)

	// Both families, which lab files do not support yet: routed-client with IPv6 and IPv4.
	dual := routed.edit(func(m *Machine) {
		v6 := map[string]string{"cp": "fd00:1::10/64", "router": "fd00:1::1/64", "desk": "fd00:3::100/64"}[m.Name]
		if v6 == "" {
			return
		}
		m.NICs, m.Routes = slices.Clone(m.NICs), slices.Clone(m.Routes)
		m.NICs[0].Addresses = append(slices.Clone(m.NICs[0].Addresses), prefix(v6))
		switch m.Name {
		case "cp":
			m.Routes = append(m.Routes, Route{prefix("::/0"), address("fd00:1::1")})
		case "router":
			m.NICs[2].Addresses = append(slices.Clone(m.NICs[2].Addresses), prefix("fd00:3::1/64"))
		case "desk":
			m.Routes = append(m.Routes, Route{prefix("::/0"), address("fd00:3::1")})
		}
	})

	for _, c := range []struct {
		name     string
		plan     Plan
		from, to string
		want     string
	}{
		{"one LAN", oneLAN, "client", "172.30.0.10", "172.30.0.100: client.eth0>lan>cp.eth0; cp.eth0>lan>client.eth0; 1500"},
		{"one LAN, VIP", oneLAN, "client", "172.30.0.200", "172.30.0.100: client.eth0>lan>.; cp.eth0>lan>client.eth0; 1500"},
		{"VIP from a Node that may announce it", oneLAN, "cp", "172.30.0.200", "172.30.0.10: cp.eth0>lan>.; w1.eth0>lan>cp.eth0; 1500"},
		{"own address", oneLAN, "cp", "172.30.0.10", "172.30.0.10: ; ; 65536"},
		{"unused address", oneLAN, "client", "172.30.0.99", "no machine on network lan has 172.30.0.99"},
		{"no default route", oneLAN, "client", "198.51.100.1", "client has no route to 198.51.100.1"},
		{"ClusterIP", oneLAN, "w1", "10.96.0.1", "10.96.0.1 is in the Service CIDR, which no network of the lab routes"},
		{"Pod", oneLAN, "client", "10.244.1.2", "client has no route to 10.244.0.0/16"},
		{"no such machine", oneLAN, "nobody", "172.30.0.10", "the lab has no machine nobody"},
		{"IPv6 that no NIC has", oneLAN, "client", "fd00::1", "client has no route to fd00::1"},

		{"routed client", routed, "desk", "172.30.0.10",
			"192.168.10.100: desk.eth0>office>router.eth2 router.eth0>lan>cp.eth0; cp.eth0>lan>router.eth0 router.eth2>office>desk.eth0; 1500"},
		{"routed client, VIP", routed, "desk", "172.30.0.200",
			"192.168.10.100: desk.eth0>office>router.eth2 router.eth0>lan>.; cp.eth0>lan>router.eth0 router.eth2>office>desk.eth0; 1500"},
		{"Node to the internet", routed, "w2", "203.0.113.100",
			"172.30.0.12: w2.eth0>lan>router.eth0 router.eth1>wan>internet.eth0; internet.eth0>wan>router.eth1 router.eth0>lan>w2.eth0; 1500"},
		{"beyond the routers", routed, "w2", "198.51.100.1", "router has no route to 198.51.100.1"},
		{"MTUs differ", jumbo, "cp", "10.2.0.100",
			"10.1.0.10: cp.eth0>lan>router.eth0 router.eth1>wan>internet.eth0; internet.eth0>wan>router.eth1 router.eth0>lan>cp.eth0; 1400"},
		{"jumbo frames on one network", jumbo, "cp", "10.1.0.11", "10.1.0.10: cp.eth0>lan>w1.eth0; w1.eth0>lan>cp.eth0; 9000"},

		{"two routers, each other's networks", twoRouters, "desk", "10.1.0.10", "r2 has no route to 10.1.0.0/24"},
		{"two routers, own networks", twoRouters, "desk", "10.4.0.100",
			"10.3.0.100: desk.eth0>office>r2.eth0 r2.eth1>home>sofa.eth0; sofa.eth0>home>r2.eth1 r2.eth0>office>desk.eth0; 1500"},
		{"router off the first network", secondNetwork, "client", "10.2.0.10",
			"10.3.0.100: client.eth0>wan>router.eth1 router.eth0>side>w.eth1; w.eth1>side>router.eth0 router.eth1>wan>client.eth0; 1500"},
		{"router off the first network, first address", secondNetwork, "client", "10.1.0.11", "router has no route to 10.1.0.0/24"},
		{"router off the first network, VIP", secondNetwork, "client", "10.1.0.200", "router has no route to 10.1.0.0/24"},
		{"router off the first network, Node without a way", secondNetwork, "cp", "10.3.0.100", "cp has no route to 10.3.0.0/24"},
		{"source on the NIC towards the router", secondNetwork, "w", "10.3.0.100",
			"10.2.0.10: w.eth1>side>router.eth0 router.eth1>wan>client.eth0; client.eth0>wan>router.eth1 router.eth0>side>w.eth1; 1500"},

		{"three NICs, the second", threeNICs, "w", "10.2.0.100", "10.2.0.10: w.eth1>storage>disk.eth0; disk.eth0>storage>w.eth1; 9000"},
		{"three NICs, asymmetric", threeNICs, "client", "10.1.0.11",
			"10.3.0.100: client.eth0>wan>router.eth1 router.eth0>lan>w.eth0; w.eth2>wan>client.eth0; 1500"},
		{"VIP on a Node's third network", threeNICs, "client", "10.3.0.200", "10.3.0.100: client.eth0>wan>.; w.eth2>wan>client.eth0; 1500"},
		{"no router joins the network", threeNICs, "disk", "10.1.0.10", "disk has no route to 10.1.0.0/24"},
		{"two NICs, a router's far address", unjoined, "both", "10.2.0.1", "10.1.0.100: both.eth0>lan>router.eth0; router.eth0>lan>both.eth0; 1500"},
		{"client on an island", unjoined, "client", "10.1.0.10", "client has no route to 10.1.0.0/24"},
		{"island from the lab", unjoined, "cp", "10.3.0.100", "router has no route to 10.3.0.0/24"},

		{"VIP by BGP", bgp, "desk", "198.51.100.1",
			"192.168.10.100: desk.eth0>office>router.eth2 router.eth0>lan>cp.eth0; cp.eth0>lan>router.eth0 router.eth2>office>desk.eth0; 1500"},
		{"VIP by BGP, asymmetric", bgp, "beside", "198.51.100.20",
			"172.30.0.100: beside.eth0>lan>router.eth0 router.eth0>lan>cp.eth0; cp.eth0>lan>beside.eth0; 1500"},
		{"VIP by BGP from its router", bgp, "router", "198.51.100.1", "172.30.0.1: router.eth0>lan>cp.eth0; cp.eth0>lan>router.eth0; 1500"},
		{"VIP by BGP from a Node", bgp, "w1", "198.51.100.1",
			"172.30.0.11: w1.eth0>lan>router.eth0 router.eth0>lan>cp.eth0; cp.eth0>lan>w1.eth0; 1500"},
		{"beyond the pool", bgp, "desk", "198.51.100.21", "router has no route to 198.51.100.21"},
		{"VIP by BGP over two routers", farBGP, "desk", "10.9.0.7",
			"10.3.0.100: desk.eth0>office>r2.eth1 r2.eth0>wan>r1.eth1 r1.eth0>lan>cp.eth0; cp.eth0>lan>r1.eth0 r1.eth1>wan>r2.eth0 r2.eth1>office>desk.eth0; 1500"},

		{"isolated", isolated, "cp", "172.30.0.11", "172.30.0.10: cp.eth0>lan>w1.eth0; w1.eth0>lan>cp.eth0; 1500"},
		{"isolated, outside", isolated, "cp", "203.0.113.100", "cp has no route to 203.0.113.100"},
		{"beyond an uplink, on link", joined, "cp", "10.1.0.77", "10.1.0.10: cp.eth0>lan>.; .>lan>cp.eth0; 1500"},
		{"beyond an uplink, routed", joined, "internet", "10.1.0.77",
			"10.1.0.77 is beyond network lan's bridge, where no route back to 10.2.0.100 is known"},

		{"IPv6 of both families", dual, "desk", "fd00:1::10",
			"fd00:3::100: desk.eth0>office>router.eth2 router.eth0>lan>cp.eth0; cp.eth0>lan>router.eth0 router.eth2>office>desk.eth0; 1500"},
		{"IPv4 of both families", dual, "desk", "172.30.0.10",
			"192.168.10.100: desk.eth0>office>router.eth2 router.eth0>lan>cp.eth0; cp.eth0>lan>router.eth0 router.eth2>office>desk.eth0; 1500"},
		{"IPv6 of a machine without", dual, "w1", "fd00:1::10", "w1 has no route to fd00:1::10"},

		{"host that does not forward", twoHops.edit(func(m *Machine) {
			if m.Name == "desk" {
				m.Routes = []Route{{prefix("0.0.0.0/0"), address("10.3.0.100")}}
			}
		}), "desk", "10.1.0.10", "r2 does not forward packets"},
		{"no route back", oneWay.edit(func(m *Machine) {
			if m.Name == "r2" {
				m.Routes = []Route{{prefix("10.1.0.0/24"), address("10.2.0.1")}}
			}
		}), "desk", "10.1.0.10", "no reply: r1 has no route to 10.3.0.0/24"},
		{"two hops", bothWays.edit(func(m *Machine) {
			if m.Name == "r2" {
				m.Routes = []Route{{prefix("10.1.0.0/24"), address("10.2.0.1")}}
			}
		}), "desk", "10.1.0.10", "10.3.0.101: desk.eth0>office>r2.eth0 r2.eth1>transit>r1.eth1 r1.eth0>lan>cp.eth0; " +
			"cp.eth0>lan>r1.eth0 r1.eth1>transit>r2.eth1 r2.eth0>office>desk.eth0; 1400"},
		{"the longest prefix", bothWays, "cp", "10.3.0.101", "10.1.0.10: cp.eth0>lan>r1.eth0 r1.eth1>transit>r2.eth1 r2.eth0>office>desk.eth0; " +
			"desk.eth0>office>r2.eth0 r2.eth1>transit>r1.eth1 r1.eth0>lan>cp.eth0; 1400"},
		{"next hop that does not exist", bothWays, "cp", "10.9.0.1", "r1 routes 10.9.0.1 via 10.2.0.77, which no machine on network transit has"},
		{"loop", loop, "cp", "10.9.0.1", "packets to 10.9.0.1 loop: cp, r1, r2, r1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Reach(c.plan, c.from, address(c.to)).text(); got != c.want {
				t.Errorf("%s to %s:\ngot  %s\nwant %s", c.from, c.to, got, c.want)
			}
		})
	}
}

// edit returns a copy with each machine changed.
func (p Plan) edit(change func(*Machine)) Plan {
	p.Machines = slices.Clone(p.Machines)
	for i := range p.Machines {
		change(&p.Machines[i])
	}
	return p
}

func address(s string) netip.Addr { return netip.MustParseAddr(s) }
