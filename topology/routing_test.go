package topology

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// text lists the routes of a router, static ones marked.
func routesOf(plan Plan, router string) string {
	var out []string
	m, _ := plan.Machine(router)
	for _, r := range m.Routes {
		out = append(out, fmt.Sprintf("static %s>%s", r.To, r.Via))
	}
	for _, r := range plan.Routes(nil).Learned(router) {
		out = append(out, strings.ReplaceAll(fmt.Sprintf("%s>%s", r.To, r.Via), " ", "+"))
	}
	return strings.Join(out, " ")
}

// Routers learn networks by the shortest paths, all equally short ones at once; static routes stay
// for what they do not learn.
func TestLearned(t *testing.T) {
	const networks = "networks: [{name: lan, cidr: 10.1.0.0/24}, {name: a, cidr: 10.2.0.0/24}, {name: b, cidr: 10.3.0.0/24}, {name: c, cidr: 10.4.0.0/24}, {name: d, cidr: 10.5.0.0/24}]\n" +
		"nodes: [{name: cp, role: control-plane, networks: [lan]}]\n"
	for _, c := range []struct {
		name, hosts string
		want        map[string]string
	}{
		{"a chain", "[{name: r1, role: router, networks: [lan, a], routing: {}}, {name: r2, role: router, networks: [a, b], routing: {}}, {name: r3, role: router, networks: [b, c], routing: {}}]",
			map[string]string{
				"r1": "10.3.0.0/24>[10.2.0.2] 10.4.0.0/24>[10.2.0.2]",
				"r2": "10.1.0.0/24>[10.2.0.1] 10.4.0.0/24>[10.3.0.2]",
				"r3": "10.1.0.0/24>[10.3.0.1] 10.2.0.0/24>[10.3.0.1]",
			}},
		{"a ring of four has two ways to the far side", "[{name: r1, role: router, networks: [lan, a], routing: {}}, {name: r2, role: router, networks: [a, b], routing: {}}, {name: r3, role: router, networks: [b, c], routing: {}}, {name: r4, role: router, networks: [c, lan], routing: {}}]",
			map[string]string{
				"r1": "10.3.0.0/24>[10.2.0.2] 10.4.0.0/24>[10.1.0.2]",
				"r2": "10.1.0.0/24>[10.2.0.1] 10.4.0.0/24>[10.3.0.2]",
			}},
		{"parallel networks between two", "[{name: r1, role: router, networks: [lan, a, b], routing: {}}, {name: r2, role: router, networks: [a, b, c], routing: {}}]",
			map[string]string{"r1": "10.4.0.0/24>[10.2.0.2+10.3.0.2]", "r2": "10.1.0.0/24>[10.2.0.1+10.3.0.1]"}},
		{"a router without routing in between", "[{name: r1, role: router, networks: [lan, a], routing: {}}, {name: r2, role: router, networks: [a, b], routing: {}}, {name: r3, role: router, networks: [b, c]}]",
			map[string]string{
				"r1": "static 10.4.0.0/24>10.2.0.2 10.3.0.0/24>[10.2.0.2]",
				"r2": "static 10.4.0.0/24>10.3.0.2 10.1.0.0/24>[10.2.0.1]",
				"r3": "static 10.1.0.0/24>10.3.0.1 static 10.2.0.0/24>10.3.0.1",
			}},
		{"neighbors that are listed", "[{name: r1, role: router, networks: [lan, a], routing: {neighbors: [r2]}}, {name: r2, role: router, networks: [a, b], routing: {}}, {name: r3, role: router, networks: [a, c], routing: {}}]",
			map[string]string{
				"r1": "10.3.0.0/24>[10.2.0.2] 10.4.0.0/24>[10.2.0.2]",
				"r2": "10.1.0.0/24>[10.2.0.1] 10.4.0.0/24>[10.2.0.3]",
				"r3": "10.1.0.0/24>[10.2.0.2] 10.3.0.0/24>[10.2.0.2]",
			}},
		// r1 refuses paths that its own system is in: it has no way to the network of r3, whose
		// only way to r1's is likewise refused. Static routes stand in.
		{"two routers of one system", "[{name: r1, role: router, networks: [lan, a], routing: {asn: 65001}}, {name: r2, role: router, networks: [a, b], routing: {}}, {name: r3, role: router, networks: [b, c], routing: {asn: 65001}}]",
			map[string]string{
				"r1": "static 10.4.0.0/24>10.2.0.2 10.3.0.0/24>[10.2.0.2]",
				"r2": "10.1.0.0/24>[10.2.0.1] 10.4.0.0/24>[10.3.0.2]",
				"r3": "static 10.1.0.0/24>10.3.0.1 10.2.0.0/24>[10.3.0.1]",
			}},
	} {
		plan := planOf(t, networks+"hosts: "+c.hosts+"\n")
		for router, want := range c.want {
			if got := routesOf(plan, router); got != want {
				t.Errorf("%s: %s has the routes\n%s, want\n%s", c.name, router, got, want)
			}
		}
	}
}

// Sessions follow from the networks that routers share; BFD takes both ends.
func TestSessions(t *testing.T) {
	plan := planOf(t, scenario(t, "spine-leaf"))
	sessions := func(name string) string {
		m, _ := plan.Machine(name)
		out := []string{fmt.Sprint(m.Routing.ASN, " ", m.Routing.RouterID, " ", m.Routing.Announces)}
		for _, s := range m.Routing.Sessions {
			out = append(out, fmt.Sprintf("%s/%d on %s: %s>%s bfd %t", s.Peer, s.ASN, s.Network, s.Local, s.Remote, s.BFD))
		}
		return strings.Join(out, "; ")
	}
	for name, want := range map[string]string{
		"leaf1":  "64500 172.30.0.1 [172.30.0.0/24 10.64.0.0/29 10.64.0.8/29]; spine1/64503 on leaf1-spine1: 10.64.0.1>10.64.0.2 bfd true; spine2/64504 on leaf1-spine2: 10.64.0.9>10.64.0.10 bfd true",
		"spine1": "64503 10.64.0.2 [10.64.0.0/29 10.64.0.16/29]; leaf1/64500 on leaf1-spine1: 10.64.0.2>10.64.0.1 bfd true; leaf2/64502 on leaf2-spine1: 10.64.0.18>10.64.0.17 bfd true",
	} {
		if got := sessions(name); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
	if m, _ := plan.Machine("client"); m.Routing != nil || len(plan.Routes(nil).Learned("client")) > 0 {
		t.Errorf("client has routing: %+v", m.Routing)
	}
	half := planOf(t, strings.Replace(scenario(t, "spine-leaf"), "leaf1-spine2], routing: {}", "leaf1-spine2], routing: {protocols: [bgp]}", 1))
	for _, m := range half.WithRole(RoleRouter) {
		for _, s := range m.Routing.Sessions {
			if want := m.Name != "leaf1" && s.Peer != "leaf1"; s.BFD != want {
				t.Errorf("BFD from %s to %s: %t, want %t", m.Name, s.Peer, s.BFD, want)
			}
		}
	}
}

// A packet may take every way that routers spread flows over. Only the routers of all ways are
// those that it has to pass.
func TestReachOverSeveralRouters(t *testing.T) {
	plan := planOf(t, strings.Replace(scenario(t, "spine-leaf"), "name: leaf2-spine2, cidr: 10.64.0.24/29", "name: leaf2-spine2, mtu: 1400, cidr: 10.64.0.24/29", 1))
	way := Reach(plan, "cp", address("192.168.10.100"))
	if !way.Reachable() || len(way.Others) != 1 || way.Source != address("172.30.0.10") || way.MTU != 1400 {
		t.Fatalf("cp to desk: %+v", way)
	}
	if got := forwarders(way.There); !slices.Equal(got, []string{"leaf1", "spine1", "leaf2"}) {
		t.Errorf("the first way is over %v", got)
	}
	if got := forwarders(way.Others[0]); !slices.Equal(got, []string{"leaf1", "spine2", "leaf2"}) {
		t.Errorf("the other way is over %v", got)
	}
	if got := way.Routers(); !slices.Equal(got, []string{"leaf1", "leaf2"}) {
		t.Errorf("every packet passes %v", got)
	}
	if got := forwarders(way.Back); !slices.Equal(got, []string{"leaf2", "spine1", "leaf1"}) {
		t.Errorf("the way back is over %v", got)
	}
	broken := plan.edit(func(m *Machine) { m.Forward = m.Forward && m.Name != "spine2" })
	if way := Reach(broken, "cp", address("192.168.10.100")); way.Reason != "spine2 does not forward packets" {
		t.Errorf("one of two ways ends: %+v", way)
	}
}

// Mode bgp alone gives routers routing, sessions with the Nodes that these open, and a pool in no
// network. VIPs are learned from the Nodes that announce them, further away from the next router.
func TestNodesAnnounceVIPs(t *testing.T) {
	plan := planOf(t, `networks: [{name: lan, cidr: 10.1.0.0/24}, {name: wan, cidr: 198.51.100.0/24}, {name: office, cidr: 10.3.0.0/24}]
nodes: [{name: cp, role: control-plane, networks: [lan]}, {name: w, role: worker, networks: [lan, wan]}]
hosts: [{name: r1, role: router, networks: [wan, lan]}, {name: r2, role: router, networks: [wan, office]}]
loadBalancer: {mode: bgp}
`)
	lb := plan.LoadBalancer
	if len(lb.Pools) != 1 || lb.Pools[0] != (Pool{"", address("192.0.2.1"), address("192.0.2.20")}) || lb.Version != "v0.16.1" {
		t.Errorf("pools are %+v, of version %s", lb.Pools, lb.Version)
	}
	if lb.BGP == nil || lb.BGP.ASN != 64501 || lb.BGP.HoldTime.String() != "9s" || !slices.Equal(lb.BGP.Peers, []Peer{{"r1", 64500, address("10.1.0.1")}}) {
		t.Errorf("BGP is %+v", lb.BGP)
	}
	r1, _ := plan.Machine("r1")
	if got := r1.Routing.Sessions; len(got) != 3 || got[0].Peer != "r2" || got[0].Node ||
		got[2] != (Session{Peer: "w", Node: true, ASN: 64501, Network: "lan", Local: address("10.1.0.1"), Remote: address("10.1.0.11")}) {
		t.Errorf("r1 has the sessions %+v", got)
	}
	if got := lb.BGP.Announced(address("192.0.2.1")); got != prefix("192.0.2.1/32") {
		t.Errorf("a VIP is announced as %s", got)
	}
	vip := prefix("192.0.2.1/32")
	routes := plan.Routes(Announced{"cp": {vip}, "w": {vip, prefix("192.0.2.2/32")}})
	if got := fmt.Sprint(routes.Learned("r1")); got != "[{10.3.0.0/24 [198.51.100.2]} {192.0.2.1/32 [10.1.0.10 10.1.0.11]} {192.0.2.2/32 [10.1.0.11]}]" {
		t.Errorf("r1 learns %s", got)
	}
	if got := fmt.Sprint(routes.Learned("r2")); got != "[{10.1.0.0/24 [198.51.100.1]} {192.0.2.1/32 [198.51.100.1]} {192.0.2.2/32 [198.51.100.1]}]" {
		t.Errorf("r2 learns %s", got)
	}
	if got := fmt.Sprint(routes.Received("r1", r1.Routing.Sessions[1]), routes.Received("r1", r1.Routing.Sessions[0])); got != "[192.0.2.1/32] [10.3.0.0/24 198.51.100.0/24]" {
		t.Errorf("r1 accepts %s", got)
	}
	if networks := plan.VIPNetworks(); len(networks) != 1 || networks[0].Name != "lab" || networks[0].Network != "" || len(networks[0].Announcers) != 0 {
		t.Errorf("VIPs are in %+v", networks)
	}
}

// A Node more changes the sessions of the router, which goes on running.
func TestRoutersAreReconfigured(t *testing.T) {
	was := planOf(t, scenario(t, "metallb-bgp"))
	is := planOf(t, scenario(t, "metallb-bgp")+"nodes: [{name: cp, role: control-plane}, {name: w, role: worker, count: 3}]\n")
	c := Compare(was, is)
	if !slices.Equal(c.Apply, []string{"routing of router"}) || !slices.Equal(c.Add, []string{"w3"}) || len(c.Replace)+len(c.Remake) > 0 {
		t.Errorf("changes are %+v", c)
	}
	without := planOf(t, strings.Replace(scenario(t, "metallb-bgp"), "mode: bgp", "mode: l2", 1))
	if c := Compare(without, was); !slices.Equal(c.Replace, []string{"router"}) || !slices.Equal(c.Apply, []string{"loadBalancer pools", "how VIPs are announced"}) {
		t.Errorf("changes from mode l2 are %+v", c)
	}
	later := planOf(t, strings.Replace(scenario(t, "metallb-bgp"), "{mode: bgp}", "{mode: bgp, bgp: {holdTime: 20s}}", 1))
	if c := Compare(was, later); !slices.Equal(c.Apply, []string{"how VIPs are announced"}) || len(c.Lines()) != 1 {
		t.Errorf("changes of the hold time are %+v", c)
	}
}
