package topology

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestBuildGolden(t *testing.T) {
	wide := labs.Default(labs.MustName("a-lab-whose-name-has-32-letters1"), labstest.Known())
	wide.Networks = []labs.Network{
		{Name: "a-network-with-a-long-name", CIDR: prefix("10.0.0.0/16"), MTU: 9000},
		{Name: "tiny", CIDR: prefix("10.1.0.0/29"), MTU: 1400},
	}
	wide.Nodes = []labs.NodeGroup{
		{Name: "control-plane-of-the-lab", Role: RoleControlPlane, Networks: []string{"a-network-with-a-long-name"}},
		{Name: "control-plane-of-the-lot", Role: RoleWorker, Count: 1, Networks: []string{"a-network-with-a-long-name", "tiny"}},
	}
	wide.Hosts = []labs.Host{
		{Name: "internet", Role: RoleInternet, Networks: []string{"tiny"}},
		{Name: "client", Role: RoleClient, Networks: []string{"tiny", "a-network-with-a-long-name"}},
	}
	wide.LoadBalancer.Pools = []string{"10.0.128.0/20", "10.0.2.1-10.0.2.9"}
	for name, lab := range map[string]labs.Lab{
		"default": labs.Default(labs.MustName("quickstart"), labstest.Known()),
		"wide":    wide,
		"ha":      threeControlPlanes(t),
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := Build(lab)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(plan, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got)+"\n" != string(want) {
				t.Errorf("plan differs from %s (run with -update to accept):\n%s", golden, got)
			}
			var back Plan
			if err := json.Unmarshal(got, &back); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(plan, back) {
				t.Errorf("plan does not survive its JSON:\n%+v\n%+v", plan, back)
			}
		})
	}
}

// threeControlPlanes is a lab with defaults otherwise.
func threeControlPlanes(t *testing.T) labs.Lab {
	t.Helper()
	lab, err := labs.Load("ha.yaml", []byte(`{apiVersion: netlab/v1alpha1, kind: Lab, metadata: {name: ha}, nodes: [{name: cp, role: control-plane, count: 3}]}`), labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

// A lab of random shape has no name, address or MAC twice and none in a pool, and a
// worker added at the end leaves every other machine as it was.
func TestBuildProperties(t *testing.T) {
	for seed := range uint64(300) {
		lab := randomLab(rand.New(rand.NewPCG(seed, 1)))
		plan, err := Build(lab)
		if err != nil {
			t.Fatalf("seed %d: %v\n%+v", seed, err, lab)
		}
		again, _ := Build(lab)
		if !reflect.DeepEqual(plan, again) {
			t.Fatalf("seed %d: two builds differ", seed)
		}
		checkPlan(t, plan)

		grown := lab
		grown.Nodes = slices.Clone(lab.Nodes)
		grown.Nodes[len(grown.Nodes)-1].Count++
		after, err := Build(grown)
		if err != nil {
			t.Fatalf("seed %d, one worker more: %v", seed, err)
		}
		for _, m := range plan.Machines {
			if same, ok := after.Machine(m.Name); !ok || !reflect.DeepEqual(m, same) {
				t.Fatalf("seed %d: one worker more changed %s:\n%+v\n%+v", seed, m.Name, m, same)
			}
		}
	}
}

func checkPlan(t *testing.T, plan Plan) {
	t.Helper()
	seen := map[string]string{}
	once := func(what, value, who string) {
		t.Helper()
		if other, taken := seen[what+value]; taken {
			t.Errorf("%s %s is both %s and %s", what, value, other, who)
		}
		seen[what+value] = who
	}
	networks := map[string]Network{}
	for _, n := range plan.Networks {
		networks[n.Name] = n
		once("interface", n.Bridge, n.Name)
		if len(n.Bridge) > maxIfname {
			t.Errorf("bridge %s is too long", n.Bridge)
		}
	}
	for _, m := range plan.Machines {
		once("machine", m.Name, m.Name)
		for i, nic := range m.NICs {
			who, network := m.Name+" "+nic.Name, networks[nic.Network]
			address := nic.Address().Addr()
			once("interface", nic.Port, who)
			once("address", address.String(), who)
			once("MAC", nic.MAC, who)
			switch {
			case nic.Name != fmt.Sprintf("eth%d", i):
				t.Errorf("%s is NIC %d", who, i)
			case len(nic.Port) > maxIfname:
				t.Errorf("port %s is too long", nic.Port)
			case nic.Address().Masked() != network.CIDR() || nic.MTU != network.MTU:
				t.Errorf("%s has %s, MTU %d in %+v", who, nic.Address(), nic.MTU, network)
			case address == network.CIDR().Addr() || !network.CIDR().Contains(address.Next()):
				t.Errorf("%s has the network's or the broadcast address %s", who, address)
			case plan.LoadBalancer.Contains(address):
				t.Errorf("%s has %s of a pool", who, address)
			}
		}
		routed := slices.ContainsFunc(m.NICs, func(n NIC) bool { return networks[n.Network].Gateway().IsValid() })
		switch {
		case routed && m.Role != RoleRouter:
			if len(m.Routes) != 1 || m.Routes[0].To.Bits() != 0 {
				t.Errorf("%s (%s) has routes %v, not a default one", m.Name, m.Role, m.Routes)
			}
		case m.Kind == KindNode: // ClusterIPs require a route, whose next hop is not the Node itself
			if len(m.Routes) != 1 || m.Routes[0].To != plan.Kubernetes.ServiceCIDR() ||
				m.Routes[0].Via == m.Address() || !m.NICs[0].Address().Contains(m.Routes[0].Via) {
				t.Errorf("%s has routes %v, not one to Services", m.Name, m.Routes)
			}
		case len(m.Routes) > 0:
			t.Errorf("%s (%s) has routes %v", m.Name, m.Role, m.Routes)
		}
		for _, r := range m.Routes {
			if !slices.ContainsFunc(m.NICs, func(n NIC) bool { return n.Address().Contains(r.Via) && n.Address().Addr() != r.Via }) {
				t.Errorf("%s cannot reach its next hop %s", m.Name, r.Via)
			}
		}
	}
}

func randomLab(r *rand.Rand) labs.Lab {
	lab := labs.Default(labs.MustName(fmt.Sprintf("lab-%d", r.IntN(1000))), labstest.Known())
	lab.Networks, lab.Nodes, lab.Hosts = nil, nil, nil
	names := []string{}
	for i := range 1 + r.IntN(4) {
		bits := []int{16, 20, 24, 25, 26}[r.IntN(5)]
		n := labs.Network{Name: []string{"n", "a-rather-long-network"}[r.IntN(2)] + fmt.Sprint(i), MTU: 1280 + r.IntN(7000)}
		n.CIDR = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), bits)
		lab.Networks, names = append(lab.Networks, n), append(names, n.Name)
	}
	some := func() []string { return slices.Clone(names[:1+r.IntN(len(names))]) }
	lab.Nodes = []labs.NodeGroup{{Name: "control-plane", Role: RoleControlPlane, Networks: some()}}
	for i := range 1 + r.IntN(3) {
		name := []string{"w", "a-worker-with-a-long-name-"}[r.IntN(2)] + fmt.Sprintf("g%d-", i)
		lab.Nodes = append(lab.Nodes, labs.NodeGroup{Name: name, Role: RoleWorker, Count: 1 + r.IntN(9), Networks: some()})
	}
	if len(names) > 1 && r.IntN(2) == 0 {
		lab.Hosts = append(lab.Hosts, labs.Host{Name: "router", Role: RoleRouter, Networks: names[:2]})
	}
	for i := range r.IntN(4) {
		lab.Hosts = append(lab.Hosts, labs.Host{Name: fmt.Sprintf("client%d", i), Role: RoleClient, Networks: some()})
	}
	lab.LoadBalancer.Pools = []string{"10.0.0.50-10.0.0.60"}
	return lab
}

func TestBuildRefuses(t *testing.T) {
	lab := func(change func(*labs.Lab)) labs.Lab {
		l := labs.Default(labs.MustName("x"), labstest.Known())
		change(&l)
		return l
	}
	for _, c := range []struct {
		lab  labs.Lab
		want string
	}{
		{lab(func(l *labs.Lab) {
			l.Networks[0].CIDR = prefix("172.30.0.0/29")
			l.LoadBalancer.Pools = []string{}
			l.Nodes[1].Count = 5
		}),
			"nodes[1]: network lan (172.30.0.0/29) has no free address for w4; use a shorter prefix or fewer machines\n" +
				"nodes[1]: network lan (172.30.0.0/29) has no free address for w5; use a shorter prefix or fewer machines"},
		{lab(func(l *labs.Lab) { l.LoadBalancer.Pools = []string{"172.30.0.5-172.30.0.99"} }),
			"loadBalancer.pools[0]: 172.30.0.5-172.30.0.99 covers 172.30.0.10, the address of cp; free addresses: 172.30.0.101-172.30.0.254"},
		{lab(func(l *labs.Lab) { l.LoadBalancer.Pools = []string{"10.0.0.0/24"} }), "pool 10.0.0.0/24 is not in any network of the lab"},
		{lab(func(l *labs.Lab) { l.Nodes[1].Networks = []string{"nowhere"} }), `w1: no addresses in network "nowhere"`},
		{lab(func(l *labs.Lab) { l.Nodes[1].Networks = nil }), `w1 has no network`},
		{lab(func(l *labs.Lab) { l.Nodes = l.Nodes[1:] }), `lab x has no control plane`},
		{lab(func(l *labs.Lab) { l.Nodes[0].Count = 3 }), `lab x has 3 control planes and 0 load balancers`},
	} {
		if _, err := Build(c.lab); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
