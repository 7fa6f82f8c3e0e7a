// Package topology turns a labs.Lab into a Plan with every name, address, MAC, interface and
// route, and answers how machines reach addresses. Build is a pure function; topology/fabric
// creates the Plan in Linux. It does not select components or start machines.
package topology

import (
	"net/netip"
	"slices"

	"netlab.dev/netlab/labs"
)

// Plan is a fully resolved lab. It is plain data: equal labs have equal Plans. Its JSON is the
// output of `netlab plan -o json` and is stored in the state directory.
type Plan struct {
	Lab          labs.Name               `json:"lab"`
	Provider     string                  `json:"provider"`
	Settings     *Settings               `json:"settings,omitempty"` // of the provider; nil where it has none
	Image        CloudImage              `json:"image,omitzero"`     // that Nodes boot
	Capabilities Capabilities            `json:"capabilities"`
	HostAccess   bool                    `json:"hostAccess"`
	Kubernetes   Kubernetes              `json:"kubernetes"`
	Networks     []Network               `json:"networks"`
	Machines     []Machine               `json:"machines"` // Nodes first, in the lab's order, then outside hosts
	CNI          labs.CNI                `json:"cni"`
	LoadBalancer LoadBalancer            `json:"loadBalancer"`
	Ingress      labs.Ingress            `json:"ingress"`
	Names        map[string][]netip.Addr `json:"names"`            // DNS name → addresses, served by the internet host
	Images       []string                `json:"images,omitempty"` // components with images for the user's own workloads
	Manifests    []labs.Manifest         `json:"manifests,omitempty"`
	Verify       labs.Verify             `json:"verify"`
	Limits       labs.Limits             `json:"limits,omitzero"` // of this machine's resources; those that are not set follow the machine
}

// Capabilities describe how a provider runs Nodes, for stages that must not depend on which
// provider it is.
type Capabilities struct {
	OwnKernel bool `json:"ownKernel"` // Nodes have their own kernels; else they share this machine's
	Remote    bool `json:"remote"`    // some Nodes run on other machines
	// Emulated: some Nodes' processors are emulated, about ten times slower. It is not
	// known from the lab file: Build leaves it unset, and the provider sets it in the running Plan.
	Emulated bool `json:"emulated,omitempty"`
}

// Kubernetes is the cluster with its fixed addresses.
type Kubernetes struct {
	Version      string         `json:"version"`
	PodCIDRs     []netip.Prefix `json:"podCIDRs"` // one a family, as the lists below
	ServiceCIDRs []netip.Prefix `json:"serviceCIDRs"`
	Proxy        string         `json:"proxy"`
	API          netip.AddrPort `json:"api"`        // the APIEndpoint's, port 6443
	APIService   netip.Addr     `json:"apiService"` // first address of the first Service CIDR: Service kubernetes has one family
	ClusterDNS   []netip.Addr   `json:"clusterDNS"` // tenth address of each Service CIDR
	Domain       string         `json:"domain"`     // cluster.local
}

// Network is one bridge in the lab's fabric namespace.
type Network struct {
	Name     string         `json:"name"`
	CIDRs    []netip.Prefix `json:"cidrs"` // one a family
	MTU      int            `json:"mtu"`
	Bridge   string         `json:"bridge"`             // in the fabric namespace, 15 characters at most
	Gateways []netip.Addr   `json:"gateways"`           // the first router's addresses, or the VIP that it shares; none where no router is
	External bool           `json:"external,omitempty"` // the gateway is a router beyond Uplink
	Uplink   string         `json:"uplink,omitempty"`   // bridge of this machine that it is connected to; "" for none
	VLAN     int            `json:"vlan,omitempty"`     // 802.1Q VLAN on Uplink; 0 for untagged
	VNI      int            `json:"vni,omitempty"`      // of the VXLAN to other hypervisors; 0 for none
	// Impair is that of each machine's link to the network, in each direction.
	Impair labs.Impairment `json:"impair,omitzero"`
}

// The kinds and roles of a Machine.
const (
	KindNode = "node" // a Kubernetes Node
	KindHost = "host" // outside the cluster

	RoleControlPlane = labs.RoleControlPlane
	RoleWorker       = labs.RoleWorker
	RoleRouter       = labs.RoleRouter
	RoleClient       = labs.RoleClient
	RoleInternet     = labs.RoleInternet
	RoleAPILB        = labs.RoleAPILB
	RoleLoadBalancer = labs.RoleLoadBalancer
	RoleCloud        = labs.RoleCloud
)

// Machine is a Node or an outside host.
type Machine struct {
	Name        string       `json:"name"` // unique in the lab; also the host name and the Node name
	Kind        string       `json:"kind"`
	Role        string       `json:"role"`
	NICs        []NIC        `json:"nics"` // eth0 first; eth0 carries the Node's address
	Routes      []Route      `json:"routes"`
	Nameservers []netip.Addr `json:"nameservers"`        // the internet host's addresses; none where there is no such host
	Forward     bool         `json:"forward"`            // forwards IP packets: routers, Nodes, and hosts with role cloud what they translated
	Services    []Service    `json:"services,omitempty"` // of an outside host
	Routing     *Routing     `json:"routing,omitempty"`  // of a router, nil for static routes only
	VRRP        *VRRP        `json:"vrrp,omitempty"`     // nil for a host that shares no VIP
	// OwnKernel is set for a machine that does not share this machine's kernel: it has no network
	// namespace here, and its provider plugs its NICs.
	OwnKernel bool `json:"ownKernel,omitempty"`
	// Remote is the URI of the other machine that runs it, as its provider reads it; "" for
	// this machine.
	Remote string `json:"remote,omitempty"`
}

// Service is a supervised program of an outside host, with the name of the component that
// defines it.
type Service struct {
	Name string `json:"name"`
}

// Runs reports whether an outside host has a service.
func (m Machine) Runs(service string) bool { return slices.Contains(m.Services, Service{service}) }

// NIC is one end of a veth pair in a machine; the other end is a port of the
// network's bridge.
type NIC struct {
	Name      string         `json:"name"` // eth0, eth1, …
	Network   string         `json:"network"`
	Addresses []netip.Prefix `json:"addresses"` // the machine's, one a family, with the network's length
	MAC       string         `json:"mac"`       // 02:… locally administered, from lab, machine and network
	MTU       int            `json:"mtu"`
	Port      string         `json:"port"` // the bridge's end, in the fabric namespace, 15 characters at most
}

// Route is a static route of a machine.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via"`
}

// LoadBalancer is the lab's choice with its pools parsed.
type LoadBalancer struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Mode    string `json:"mode"`
	Pools   []Pool `json:"pools"`
	BGP     *BGP   `json:"bgp,omitempty"` // of mode bgp
}

// Pool is a range of VIPs inside one network; in mode bgp in none.
type Pool struct {
	Network string     `json:"network"`
	First   netip.Addr `json:"first"`
	Last    netip.Addr `json:"last"` // inclusive
}

// Address returns the machine's first address on its first NIC: for a Node, its InternalIP.
func (m Machine) Address() netip.Addr { return m.NICs[0].Address().Addr() }

// Nameserver returns the first nameserver; the zero Addr where there is none.
func (m Machine) Nameserver() netip.Addr { return first(m.Nameservers) }

// Address returns the NIC's first address, with the length of its network's prefix.
func (n NIC) Address() netip.Prefix { return first(n.Addresses) }

// Has reports whether the NIC has an address.
func (n NIC) Has(a netip.Addr) bool {
	return slices.ContainsFunc(n.Addresses, func(own netip.Prefix) bool { return own.Addr() == a })
}

// OnLink reports whether an address is on the NIC's network, so that it is resolved by ARP.
func (n NIC) OnLink(a netip.Addr) bool { return slices.ContainsFunc(n.Addresses, contains(a)) }

// CIDR returns the network's first prefix.
func (n Network) CIDR() netip.Prefix { return first(n.CIDRs) }

// Gateway returns the network's first gateway; the zero Addr where no router is.
func (n Network) Gateway() netip.Addr { return first(n.Gateways) }

// PodCIDR returns the first Pod CIDR.
func (k Kubernetes) PodCIDR() netip.Prefix { return first(k.PodCIDRs) }

// ServiceCIDR returns the first Service CIDR.
func (k Kubernetes) ServiceCIDR() netip.Prefix { return first(k.ServiceCIDRs) }

// DNS returns the first ClusterIP of the cluster's DNS.
func (k Kubernetes) DNS() netip.Addr { return first(k.ClusterDNS) }

// first returns the zero value of an empty list.
func first[T any](list []T) (value T) {
	if len(list) > 0 {
		value = list[0]
	}
	return value
}

// APIEndpoint is the machine at the API server's address: the only control plane, or the load
// balancer in front of several.
func (p Plan) APIEndpoint() Machine {
	if balancers := p.WithRole(RoleAPILB); len(balancers) > 0 {
		return balancers[0]
	}
	return p.WithRole(RoleControlPlane)[0]
}

// HighlyAvailable reports whether there are several control planes.
func (p Plan) HighlyAvailable() bool { return len(p.WithRole(RoleControlPlane)) > 1 }

// Records returns the first address of each DNS name, as text.
func (p Plan) Records() map[string]string {
	out := map[string]string{}
	for name, addresses := range p.Names {
		out[name] = first(addresses).String()
	}
	return out
}

// Nodes returns the Kubernetes Nodes, in order.
func (p Plan) Nodes() []Machine {
	return p.machines(func(m Machine) bool { return m.Kind == KindNode })
}

// NodeMTU is the MTU of the network that all Nodes share, that of their InternalIPs.
func (p Plan) NodeMTU() int {
	nodes := p.Nodes()
	if len(nodes) == 0 || len(nodes[0].NICs) == 0 {
		return 0
	}
	return nodes[0].NICs[0].MTU
}

// Hosts returns the machines outside the cluster, in order.
func (p Plan) Hosts() []Machine {
	return p.machines(func(m Machine) bool { return m.Kind == KindHost })
}

// WithRole returns the machines of a role, in order.
func (p Plan) WithRole(role string) []Machine {
	return p.machines(func(m Machine) bool { return m.Role == role })
}

// Machine finds a machine by name.
func (p Plan) Machine(name string) (Machine, bool) {
	for _, m := range p.Machines {
		if m.Name == name {
			return m, true
		}
	}
	return Machine{}, false
}

// Network finds a network by name.
func (p Plan) Network(name string) (Network, bool) {
	for _, n := range p.Networks {
		if n.Name == name {
			return n, true
		}
	}
	return Network{}, false
}

func (p Plan) machines(keep func(Machine) bool) []Machine {
	var out []Machine
	for _, m := range p.Machines {
		if keep(m) {
			out = append(out, m)
		}
	}
	return out
}

// Contains reports whether a VIP lies in one of the lab's pools.
func (l LoadBalancer) Contains(vip netip.Addr) bool {
	for _, p := range l.Pools {
		if p.First.Compare(vip) <= 0 && vip.Compare(p.Last) <= 0 {
			return true
		}
	}
	return false
}
