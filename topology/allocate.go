package topology

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"netlab.dev/netlab/labs"
)

// allocation is every address of a lab.
type allocation struct {
	members []member
	pools   []Pool
}

// member is a machine of the lab with an address for each of its networks: the zero Addr
// where there is a problem with the network.
type member struct {
	labs.Member
	addresses []netip.Addr
	shared    map[string]netip.Addr // by network: the VIPs that the machine shares by VRRP
}

// The first address of each kind of machine in a network of /24 or larger.
const (
	firstRouter = 1
	firstNode   = 10
	firstShared = 90 // VIPs of load balancers
	firstHost   = 100
)

// allocate returns every machine its addresses and reads the pools.
//
// In a network of /24 or larger, routers get addresses from .1 on, their VIP that before them, Nodes
// from .10, the VIP of load balancers .90, other hosts from .100; in a smaller one each machine gets
// the next free address, routers and hosts before Nodes. So a Node added at the end or a change of a pool does not change the address of
// any other machine. A full network and a pool that covers a machine's address are problems.
func allocate(lab labs.Lab) (allocation, labs.Problems) {
	var out allocation
	var problems labs.Problems
	for _, m := range lab.Members() {
		out.members = append(out.members, member{Member: m, addresses: make([]netip.Addr, len(m.Networks))})
	}
	spaces := map[string]*space{}
	for _, n := range lab.Networks {
		if n.Usable() && spaces[n.Name] == nil {
			spaces[n.Name] = &space{cidr: n.CIDR, used: map[int]string{}}
			if n.Gateway.IsValid() && n.CIDR.Contains(n.Gateway) {
				spaces[n.Name].used[position(n.CIDR, n.Gateway)] = "the gateway of network " + n.Name
			}
		}
	}
	give := func(from int, belongs func(labs.Member) bool) {
		for _, m := range out.members {
			if belongs(m.Member) {
				problems = append(problems, m.address(spaces, from)...)
			}
		}
	}
	share := func(role string, from int) {
		problems = append(problems, shareVIPs(out.members, role, spaces, from)...)
	}
	share(RoleRouter, firstRouter)
	give(firstRouter, func(m labs.Member) bool { return !m.Node && m.Role == RoleRouter })
	share(RoleLoadBalancer, firstShared)
	give(firstHost, func(m labs.Member) bool { return !m.Node && m.Role != RoleRouter })
	give(firstNode, func(m labs.Member) bool { return m.Node })

	texts := lab.LoadBalancer.Pools
	if texts == nil && lab.LoadBalancer.Name != labs.None {
		texts = defaultPools(lab)
	}
	out.pools = []Pool{}
	for i, text := range texts {
		pool, err := labs.ParsePool(text)
		if err != nil {
			out.pools = append(out.pools, Pool{}) // labs.Load reports it, and Build returns an error
			continue
		}
		network := ""
		if lab.LoadBalancer.Mode != labs.ModeBGP {
			network = networkOf(lab, pool)
		}
		out.pools = append(out.pools, Pool{Network: network, First: pool.First, Last: pool.Last})
		problems = append(problems, covered(fmt.Sprintf("loadBalancer.pools[%d]", i), text, pool, spaces)...)
	}
	return out, problems
}

// address allocates the member's addresses in its networks.
func (m member) address(spaces map[string]*space, from int) (problems labs.Problems) {
	for i, name := range m.Networks {
		s := spaces[name]
		if s == nil {
			continue // labs.Load reports unknown and unusable networks
		}
		address, ok := s.take(from, m.Name)
		if !ok {
			problems = append(problems, s.full(m.Field, name, m.Name))
		}
		m.addresses[i] = address
	}
	return problems
}

// shareVIPs allocates the VIPs that hosts of a role share: one on each network that they share one on.
func shareVIPs(members []member, role string, spaces map[string]*space, from int) (problems labs.Problems) {
	vips := map[string]netip.Addr{}
	for i := range members {
		m := &members[i]
		if m.Node || m.Role != role {
			continue
		}
		for _, name := range m.SharedOn() {
			s := spaces[name]
			if s == nil {
				continue // labs.Load reports unknown and unusable networks
			}
			who := "the VIP of hosts with role " + role
			vip, known := vips[name]
			if !known {
				var ok bool
				if vip, ok = s.take(from, who); !ok {
					problems = append(problems, s.full(m.Field, name, who))
				}
				vips[name] = vip
			}
			if m.shared == nil {
				m.shared = map[string]netip.Addr{}
			}
			m.shared[name] = vip
		}
	}
	return problems
}

// full is the problem of a network without a free address.
func (s *space) full(field, network, who string) labs.Problem {
	return labs.Problem{Field: field, What: fmt.Sprintf("network %s (%s) has no free address for %s", network, s.cidr, who),
		Hint: "use a shorter prefix or fewer machines"}
}

// covered reports, for each network, the first machine whose address is in a pool.
func covered(field, text string, pool labs.Pool, spaces map[string]*space) (problems labs.Problems) {
	for _, name := range slices.Sorted(maps.Keys(spaces)) {
		s := spaces[name]
		for _, at := range slices.Sorted(maps.Keys(s.used)) {
			if address := nth(s.cidr, at); pool.Contains(address) {
				problems = append(problems, labs.Problem{Field: field, Hint: s.hint(),
					What: fmt.Sprintf("%s covers %s, the address of %s", text, address, s.used[at])})
				break
			}
		}
	}
	return problems
}

// defaultPools is one pool in the Nodes' first network, or that of the host that has the VIPs in mode external:
// the addresses 200 to 219, or the last quarter of a network smaller than a /24. In mode bgp it is in no network.
func defaultPools(lab labs.Lab) []string {
	var holders [][]string // the networks of each
	switch lab.LoadBalancer.Mode {
	case labs.ModeBGP:
		return []string{lab.DefaultRoutedPool()}
	case labs.ModeExternal:
		for _, h := range lab.Hosts {
			if h.Role == RoleCloud {
				holders = append(holders, h.Networks)
			}
		}
	default:
		for _, g := range lab.Nodes {
			holders = append(holders, g.Networks)
		}
	}
	for _, n := range lab.Networks {
		if first(first(holders)) != n.Name {
			continue
		}
		if !n.Usable() {
			return nil
		}
		from, to := 200, 219
		if size := 1 << (32 - n.CIDR.Bits()); size < 256 {
			from, to = size*3/4, size-2
		}
		return []string{nth(n.CIDR, from).String() + "-" + nth(n.CIDR, to).String()}
	}
	return nil
}

// networkOf names the network that a pool lies in; "" for none.
func networkOf(lab labs.Lab, pool labs.Pool) string {
	for _, n := range lab.Networks {
		if n.CIDR.Contains(pool.First) && n.CIDR.Contains(pool.Last) {
			return n.Name
		}
	}
	return ""
}

// space allocates the host addresses of a network.
type space struct {
	cidr netip.Prefix
	used map[int]string // position in cidr → who has it
}

// take returns the first free address at or after from, or any free one when there is
// none; never the network's own address or its broadcast address. Networks too small
// for the numbering are filled from their start.
func (s *space) take(from int, who string) (netip.Addr, bool) {
	last := 1<<(32-s.cidr.Bits()) - 2
	if s.cidr.Bits() > 24 {
		from = 1
	}
	for _, start := range []int{from, 1} {
		for at := start; at <= last; at++ {
			if _, taken := s.used[at]; !taken {
				s.used[at] = who
				return nth(s.cidr, at), true
			}
		}
	}
	return netip.Addr{}, false
}

// hint returns the free range for a pool.
func (s *space) hint() string {
	last := 1<<(32-s.cidr.Bits()) - 2
	high := slices.Max(slices.Collect(maps.Keys(s.used)))
	if high >= last {
		return "use a larger network: machines get their addresses first"
	}
	return fmt.Sprintf("free addresses: %s-%s", nth(s.cidr, high+1), nth(s.cidr, last))
}

// position is the inverse of nth.
func position(cidr netip.Prefix, address netip.Addr) int {
	base, a := cidr.Addr().As4(), address.As4()
	return int(binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(base[:]))
}

// nth returns the address at a position of an IPv4 prefix, counted from its own address.
func nth(cidr netip.Prefix, at int) netip.Addr {
	a := cidr.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(at))
	return netip.AddrFrom4(a)
}
