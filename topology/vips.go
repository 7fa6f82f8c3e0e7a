package topology

import (
	"fmt"
	"slices"
)

// VIPNetwork is a network with pools, and what announces their VIPs there by ARP; or, in mode bgp, all
// pools.
type VIPNetwork struct {
	Name       string // "lab" for the network of the first pool, "lab-NETWORK" for another
	Network    string // "" in mode bgp
	Pools      []Pool
	Announcers []Announcer
}

// Announcer is the Nodes that are on a network by a NIC of one name.
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

// announcers groups the Nodes on a network by the name of their NIC there.
func (p Plan) announcers(network string) []Announcer {
	var out []Announcer
	for _, node := range p.Nodes() {
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
