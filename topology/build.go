package topology

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"

	"netlab.dev/netlab/labs"
)

// maxIfname is the longest interface name that Linux accepts (IFNAMSIZ less its final zero).
const maxIfname = 15

// Load reads a lab file and builds its Plan. The error is labs.Problems, with every error in
// the file, those of address allocation included.
func Load(filename string, data []byte, known labs.Known) (Plan, error) {
	lab, err := labs.Load(filename, data, known, func(lab labs.Lab) labs.Problems {
		_, problems := allocate(lab)
		return problems
	})
	if err != nil {
		return Plan{}, err
	}
	return Build(lab)
}

// Build turns a lab into its Plan. The error is labs.Problems where the lab's addresses do
// not fit its networks; Load returns them with lines.
func Build(lab labs.Lab) (Plan, error) {
	addresses, problems := allocate(lab)
	if len(problems) > 0 {
		return Plan{}, problems
	}
	for i, pool := range addresses.pools {
		if !pool.First.IsValid() || pool.Network == "" && lab.LoadBalancer.Mode != labs.ModeBGP {
			return Plan{}, fmt.Errorf("pool %s is not in any network of the lab", lab.LoadBalancer.Pools[i])
		}
	}
	b := builder{lab: lab, used: map[string]bool{}}
	b.networks(addresses.members)
	if err := b.machines(addresses.members); err != nil {
		return Plan{}, err
	}
	b.stretch()
	p := b.plan
	if n := len(p.WithRole(RoleControlPlane)); n == 0 {
		return Plan{}, fmt.Errorf("lab %s has no control plane", lab.Metadata.Name)
	} else if balancers := len(p.WithRole(RoleAPILB)); (n > 1) != (balancers == 1) || balancers > 1 {
		return Plan{}, fmt.Errorf("lab %s has %d control planes and %d load balancers", lab.Metadata.Name, n, balancers)
	}
	p.Lab = lab.Metadata.Name
	p.Provider = lab.Provider
	p.Capabilities = Capabilities{OwnKernel: lab.Traits().OwnKernel, Remote: len(p.Remotes()) > 0}
	p.HostAccess = lab.HostAccess
	var err error
	if p.Settings, p.Image, err = settings(lab); err != nil {
		return Plan{}, err
	}
	p.Kubernetes = Kubernetes{
		Version:      lab.Kubernetes.Version,
		PodCIDRs:     []netip.Prefix{lab.Kubernetes.PodCIDR},
		ServiceCIDRs: []netip.Prefix{lab.Kubernetes.ServiceCIDR},
		Proxy:        lab.Kubernetes.Proxy,
		API:          netip.AddrPortFrom(p.APIEndpoint().Address(), 6443),
		APIService:   nth(lab.Kubernetes.ServiceCIDR, 1),
		ClusterDNS:   []netip.Addr{nth(lab.Kubernetes.ServiceCIDR, 10)},
		Domain:       "cluster.local",
	}
	p.CNI = lab.CNI
	p.LoadBalancer = LoadBalancer{Name: lab.LoadBalancer.Name, Version: lab.LoadBalancer.Version, Mode: lab.LoadBalancer.Mode, Pools: addresses.pools, BGP: b.bgp()}
	p.Ingress = lab.Ingress
	p.Names = map[string][]netip.Addr{}
	for _, h := range p.Hosts() {
		p.Names[h.Name+".outside.test"] = []netip.Addr{h.Address()}
	}
	p.Images, p.Manifests, p.Verify, p.Limits = lab.Images, lab.Manifests, lab.Verify, lab.Limits
	return p, nil
}

// builder collects a Plan's networks and machines, and the interface names taken.
type builder struct {
	lab  labs.Lab
	plan Plan
	used map[string]bool
}

func (b *builder) networks(members []member) {
	for _, n := range b.lab.Networks {
		out := Network{Name: n.Name, CIDRs: []netip.Prefix{n.CIDR}, Gateways: []netip.Addr{}, MTU: n.MTU, Bridge: b.ifname("br-"+n.Name, ""), Uplink: n.Bridge, VLAN: n.VLAN, Impair: n.Impair}
		if n.Gateway.IsValid() {
			out.Gateways, out.External = []netip.Addr{n.Gateway}, true
		}
		for _, m := range members {
			if slices.Contains(m.Networks, n.Name) && m.Role == RoleRouter && len(out.Gateways) == 0 {
				out.Gateways = []netip.Addr{m.nextHop(n.Name)}
			}
		}
		b.plan.Networks = append(b.plan.Networks, out)
	}
}

func (b *builder) machines(members []member) error {
	nameservers := []netip.Addr{}
	for _, m := range members {
		if len(m.Networks) == 0 {
			return fmt.Errorf("%s has no network", m.Name)
		}
		if m.Role == RoleInternet && len(nameservers) == 0 {
			nameservers = m.addresses[:1]
		}
	}
	routers := map[string]*Routing{}
	for _, m := range members {
		if r := b.routing(m, members); r != nil {
			routers[m.Name] = r
		}
	}
	learned := learn(routers)
	for _, m := range members {
		remote, err := b.remote(m.Member)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		out := Machine{
			Name: m.Name, Kind: KindHost, Role: m.Role,
			Routes:      []Route{},
			Nameservers: nameservers,
			Forward:     m.Node || m.Role == RoleRouter || m.Role == RoleCloud,
			OwnKernel:   m.Node && b.lab.Traits().OwnKernel,
			Remote:      remote,
			Routing:     routers[m.Name],
			VRRP:        m.vrrp(members),
		}
		if m.Node {
			out.Kind = KindNode
		}
		for _, name := range m.Services {
			out.Services = append(out.Services, Service{Name: name})
		}
		for i, name := range m.Networks {
			at := slices.IndexFunc(b.plan.Networks, func(n Network) bool { return n.Name == name })
			if at < 0 || !m.addresses[i].IsValid() {
				return fmt.Errorf("%s: no addresses in network %q", m.Name, name)
			}
			network := b.plan.Networks[at]
			out.NICs = append(out.NICs, NIC{
				Name:      nicName(i),
				Network:   name,
				Addresses: []netip.Prefix{netip.PrefixFrom(m.addresses[i], network.CIDR().Bits())},
				MAC:       mac(b.lab.Metadata.Name, m.Name, name),
				MTU:       network.MTU,
				Port:      b.ifname(m.Name, fmt.Sprintf(".%d", i)),
			})
		}
		out.Routes = b.routes(m, members, learned.Learned(m.Name))
		if m.Node && len(out.Routes) == 0 {
			out.Routes = append(out.Routes, b.serviceRoute(out))
		}
		b.plan.Machines = append(b.plan.Machines, out)
	}
	return nil
}

// nicName is the name of a machine's NIC on the network at a position of its list.
func nicName(at int) string { return fmt.Sprintf("eth%d", at) }

// serviceRoute is what a Node without a default route needs to reach ClusterIPs: the
// kernel requires a route before kube-proxy rewrites the destination. No packet is sent to
// the next hop, which is any other address of the Node's network.
func (b *builder) serviceRoute(node Machine) Route {
	own := node.NICs[0].Address()
	via := own.Masked().Addr().Next()
	if via == own.Addr() {
		via = via.Next()
	}
	return Route{To: b.lab.Kubernetes.ServiceCIDR, Via: via}
}

// ifname returns an interface name that is unique in the lab's fabric namespace: base
// and suffix, with the end of base replaced by a hash of it where the name is too long.
func (b *builder) ifname(base, suffix string) string {
	name := base + suffix
	for salt := 0; len(name) > maxIfname || b.used[name]; salt++ {
		hash := fmt.Sprintf("-%x", sha256.Sum256(fmt.Appendf(nil, "%s/%d", base, salt)))[:6]
		keep := min(len(base), maxIfname-len(suffix)-len(hash))
		name = base[:keep] + hash + suffix
	}
	b.used[name] = true
	return name
}

// mac returns a locally administered unicast address (IEEE 802: second-lowest bit of
// the first octet set), the same in every run.
func mac(lab labs.Name, machine, network string) string {
	sum := sha256.Sum256([]byte(lab.Label() + "/" + machine + "/" + network))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}
