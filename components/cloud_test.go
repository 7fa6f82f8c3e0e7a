package components

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/topology"
)

// clouded is a plan with a cloud on two networks, of which it reaches the Nodes by the first.
func clouded(c Catalog) topology.Plan {
	p := quickstart(c)
	p.LoadBalancer = topology.LoadBalancer{Name: "cloud", Mode: "external", Pools: []topology.Pool{
		{Network: "wan", First: address("203.0.113.200"), Last: address("203.0.113.219")}, {Network: "dmz", First: address("192.0.2.7"), Last: address("192.0.2.7")}}}
	nic := func(name, network, at string) topology.NIC {
		return topology.NIC{Name: name, Network: network, Addresses: []netip.Prefix{prefix(at)}}
	}
	p.Networks = []topology.Network{{Name: "lan", CIDRs: []netip.Prefix{prefix("172.30.0.0/24")}}, {Name: "wan", CIDRs: []netip.Prefix{prefix("203.0.113.0/24")}}, {Name: "dmz", CIDRs: []netip.Prefix{prefix("192.0.2.0/24")}}}
	p.Machines = []topology.Machine{
		{Name: "cp", Kind: topology.KindNode, Role: topology.RoleControlPlane, NICs: []topology.NIC{nic("eth0", "lan", "172.30.0.10/24")}},
		{Name: "provider", Kind: topology.KindHost, Role: topology.RoleCloud, NICs: []topology.NIC{nic("eth0", "wan", "203.0.113.101/24"), nic("eth1", "dmz", "192.0.2.100/24"), nic("eth2", "lan", "172.30.0.101/24")},
			Services: []topology.Service{{Name: "agent"}, {Name: "cloud"}}}}
	return p
}

// A load balancer outside the cluster is two programs of its host, which know its pools, and an account in the cluster.
func TestCloud(t *testing.T) {
	c := load(t)
	set := resolve(t, c, clouded(c))
	host, _ := set.Plan.Machine("provider")
	services, err := set.HostServices(host)
	if err != nil || len(services) != 3 || services[1].Name != "cloud-balancer" || services[2].Name != "cloud-controller" {
		t.Fatalf("%+v (%v)", services, err)
	}
	const want = `{
  "host": "provider",
  "namespace": "cloud-system",
  "lease": "cloud-controller-manager",
  "pools": [
    {"name": "lab", "nic": "eth0", "ranges": [{"first": "203.0.113.200", "last": "203.0.113.219"}]},
    {"name": "lab-dmz", "nic": "eth1", "ranges": [{"first": "192.0.2.7", "last": "192.0.2.7"}]}
  ]
}
`
	if got := services[2].Files["/etc/netlab/cloud-controller.json"]; got != want {
		t.Errorf("the controller's configuration is\n%s", got)
	}
	all, err := set.Render(Artifacts{Copies: copied(t, set)})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(r Rendered) bool { return r.Name == "cloud" })
	if i < 0 || all[i].Account == nil || !slices.Equal(all[i].Account.Hosts, []string{"provider"}) || all[i].Account.Namespace != "cloud-system" {
		t.Fatalf("%+v", all)
	}
	// Kubernetes deletes the token of a ServiceAccount that is not there yet.
	if len(all[i].Config) != 1 || all[i].Config[0].GetKind() != "Secret" || all[i].Config[0].GetName() != all[i].Account.Secret {
		t.Errorf("after the ServiceAccount %v is made", all[i].Config)
	}
	role := all[i].find(t, "Role", "cloud-controller-manager")
	if text := inline(role); !strings.Contains(text, all[i].Account.Lease) {
		t.Errorf("the Role does not name the lease: %s", text)
	}
	if choice := c.Known().LoadBalancers["cloud"].Of(""); choice.Host != topology.RoleCloud {
		t.Errorf("it runs on hosts with role %q", choice.Host)
	}
	apart := clouded(c)
	apart.Machines[1].NICs = apart.Machines[1].NICs[:2]
	if _, err := c.Resolve(apart); err == nil || !strings.Contains(err.Error(), "loadBalancer.name: host provider of cloud does not reach Node cp: provider has no route to 172.30.0.0/24; attach") {
		t.Errorf("a cloud without a way to the Nodes: %v", err)
	}
}
