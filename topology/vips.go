package topology

import (
	"fmt"
	"net/netip"
	"slices"

	"netlab.dev/netlab/labs"
)

// VIPNetwork is a network with pools, and what announces their VIPs there by ARP; or, in mode bgp, all
// pools.
type VIPNetwork struct {
	Name       string // "lab" for the network of the first pool, "lab-NETWORK" for another
	Network    string // "" in mode bgp
	Pools      []Pool
	Announcers []Announcer
}

// Announcer is the Nodes that are on a network by a NIC of one name; in mode external the host that has the VIPs.
type Announcer struct {
	NIC   string
	Nodes []string
	All   bool // these are all Nodes of the lab
}

// VIPNetworks groups the pools by their networks, in the order of the pools.
func (p Plan) VIPNetworks() []VIPNetwork {
	var out []VIPNetwork
	for _, pool := range p.LoadBalancer.Pools {
		i := slices.IndexFunc(out, func(v VIPNetwork) bool { return v.Network == pool.Network })
		if i < 0 {
			name := "lab"
			if len(out) > 0 {
				name = fmt.Sprintf("lab-%.59s", pool.Network) // a label of an object is at most 63 characters
			}
			i, out = len(out), append(out, VIPNetwork{Name: name, Network: pool.Network, Announcers: p.announcers(pool.Network)})
		}
		out[i].Pools = append(out[i].Pools, pool)
	}
	return out
}

// External is the host outside the cluster that has all VIPs; false where Nodes announce them.
func (p Plan) External() (Machine, bool) {
	hosts := p.WithRole(RoleCloud)
	if p.LoadBalancer.Mode != labs.ModeExternal || len(hosts) == 0 {
		return Machine{}, false
	}
	return hosts[0], true
}

// holds reports whether a machine has an address because it is a VIP.
func (p Plan) holds(m Machine, a netip.Addr) bool {
	host, external := p.External()
	return external && m.Name == host.Name && p.LoadBalancer.Contains(a)
}

// announcers groups the Nodes on a network by the name of their NIC there.
func (p Plan) announcers(network string) []Announcer {
	var out []Announcer
	machines := p.Nodes()
	if host, external := p.External(); external {
		machines = []Machine{host}
	}
	for _, node := range machines {
		nic, on := node.On(network)
		if !on {
			continue
		}
		i := slices.IndexFunc(out, func(a Announcer) bool { return a.NIC == nic.Name })
		if i < 0 {
			i, out = len(out), append(out, Announcer{NIC: nic.Name})
		}
		out[i].Nodes = append(out[i].Nodes, node.Name)
		out[i].All = len(out[i].Nodes) == len(p.Nodes())
	}
	return out
}

// On returns the machine's NIC on a network.
func (m Machine) On(network string) (NIC, bool) {
	for _, nic := range m.NICs {
		if nic.Network == network {
			return nic, true
		}
	}
	return NIC{}, false
}
