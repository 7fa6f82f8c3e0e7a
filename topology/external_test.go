package topology

import (
	"testing"
)

// The VIPs of a cloud are on its host's first network, and belong to that host: everybody reaches them there.
func TestExternalVIPs(t *testing.T) {
	p := planOf(t, scenario(t, "csp"))
	host, external := p.External()
	if !external || host.Name != "cloud" || !host.Forward || !host.Runs("cloud") {
		t.Fatalf("%+v", host)
	}
	if len(p.LoadBalancer.Pools) != 1 || p.LoadBalancer.Pools[0].Network != "wan" || p.LoadBalancer.Pools[0].First.String() != "203.0.113.200" {
		t.Errorf("pools are %+v", p.LoadBalancer.Pools)
	}
	if v := p.VIPNetworks(); len(v) != 1 || len(v[0].Announcers) != 1 || v[0].Announcers[0].NIC != "eth0" || v[0].Announcers[0].Nodes[0] != "cloud" {
		t.Errorf("%+v", v)
	}
	vip := p.LoadBalancer.Pools[0].Last
	for from, want := range map[string]string{
		"client": "203.0.113.100: client.eth0>wan>cloud.eth0; cloud.eth0>wan>client.eth0; 1500",
		"office": "172.30.0.100: office.eth0>lan>router.eth0 router.eth1>wan>cloud.eth0; cloud.eth0>wan>router.eth1 router.eth0>lan>office.eth0; 1500",
		"w1":     "172.30.0.11: w1.eth0>lan>router.eth0 router.eth1>wan>cloud.eth0; cloud.eth0>wan>router.eth1 router.eth0>lan>w1.eth0; 1500",
	} {
		if got := Reach(p, from, vip).text(); got != want {
			t.Errorf("from %s: %s, want %s", from, got, want)
		}
	}
	if w := Reach(p, "cloud", vip); !w.Reachable() || w.MTU != loopback {
		t.Errorf("from its host: %+v", w)
	}
	if w := Reach(p, "client", p.LoadBalancer.Pools[0].Last.Next()); w.Reachable() {
		t.Errorf("an address of no pool: %+v", w)
	}
}
