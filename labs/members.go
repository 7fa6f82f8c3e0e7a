package labs

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Member is one machine of a lab: a Node of a group, or a host.
type Member struct {
	Name      string
	Role      string
	Node      bool // a Kubernetes Node; else outside the cluster
	Field     string
	Networks  []string
	Addresses []netip.Addr // one for each of Networks
	Host      string       // of a Node: its NodeGroup's
}

// Members expands the Node groups and gives every machine its addresses: Nodes
// first, then hosts, in the lab's order.
//
// In a network of /24 or larger, routers take addresses from the first on, Nodes
// from the tenth, other hosts from the hundredth; in a smaller one each takes the
// next free address, routers and hosts before Nodes. So a Node added at the end
// moves no other machine, and neither does a change of a pool. It is a problem when
// a network is full or a pool covers an address given here.
func (l Lab) Members() ([]Member, Problems) {
	members := l.expand()
	var problems Problems
	spaces := map[string]*space{}
	for _, n := range l.Networks {
		if usableNetwork(n.CIDR) && spaces[n.Name] == nil {
			spaces[n.Name] = &space{cidr: n.CIDR, used: map[int]string{}}
		}
	}
	give := func(belongs func(Member) bool, from int) {
		for i := range members {
			m := &members[i]
			if !belongs(*m) {
				continue
			}
			m.Addresses = make([]netip.Addr, len(m.Networks))
			for j, name := range m.Networks {
				s := spaces[name]
				if s == nil {
					continue // validate tells of unknown and unusable networks
				}
				address, ok := s.take(from, m.Name)
				if !ok {
					problems.add(m.Field, "give it a shorter prefix or fewer machines",
						"no address left in network %s (%s) for %s", name, s.cidr, m.Name)
				}
				m.Addresses[j] = address
			}
		}
	}
	give(func(m Member) bool { return !m.Node && m.Role == RoleRouter }, 1)
	give(func(m Member) bool { return !m.Node && m.Role != RoleRouter }, 100)
	give(func(m Member) bool { return m.Node }, 10)

	for i, text := range l.LoadBalancer.Pools {
		pool, err := ParsePool(text)
		if err != nil {
			continue // validate tells
		}
		for _, name := range slices.Sorted(maps.Keys(spaces)) {
			s := spaces[name]
			for _, at := range slices.Sorted(maps.Keys(s.used)) {
				if address := nth(s.cidr, at); pool.Contains(address) {
					problems.add(fmt.Sprintf("loadBalancer.pools[%d]", i), s.hint(),
						"%s covers %s, the address of %s", text, address, s.used[at])
					break
				}
			}
		}
	}
	return members, problems
}

// expand gives the machines without addresses.
func (l Lab) expand() []Member {
	var members []Member
	for i, g := range l.Nodes {
		m := Member{Name: g.Name, Role: g.Role, Node: true, Field: fmt.Sprintf("nodes[%d]", i), Networks: g.Networks, Host: g.Host}
		if g.Count == 0 {
			members = append(members, m)
		}
		for n := 1; n <= min(g.Count, maxCount); n++ {
			m.Name = fmt.Sprintf("%s%d", g.Name, n)
			members = append(members, m)
		}
	}
	for i, h := range l.Hosts {
		members = append(members, Member{Name: h.Name, Role: h.Role, Field: fmt.Sprintf("hosts[%d]", i), Networks: h.Networks})
	}
	return members
}

// maxCount bounds a Node group: a slip of the finger shall not ask for 2000 Nodes.
const maxCount = 50

// maxMembers bounds a lab; no machine runs that many.
const maxMembers = 500

// space hands out the host addresses of a network.
type space struct {
	cidr netip.Prefix
	used map[int]string // position in cidr → who has it
}

// take gives the first free address at or after from, or any free one when there is
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

// hint tells where a pool has room.
func (s *space) hint() string {
	last := 1<<(32-s.cidr.Bits()) - 2
	high := slices.Max(slices.Collect(maps.Keys(s.used)))
	if high >= last {
		return "machines take their addresses first; a larger network has room"
	}
	return fmt.Sprintf("free of machines is %s-%s", nth(s.cidr, high+1), nth(s.cidr, last))
}

// Pool is a range of addresses, Last included.
type Pool struct{ First, Last netip.Addr }

// ParsePool reads "first-last" or a CIDR.
func ParsePool(text string) (Pool, error) {
	if first, last, ok := strings.Cut(text, "-"); ok {
		a, errA := netip.ParseAddr(strings.TrimSpace(first))
		b, errB := netip.ParseAddr(strings.TrimSpace(last))
		switch {
		case errA != nil || errB != nil || !a.Is4() || !b.Is4():
			return Pool{}, fmt.Errorf("%q is no range of IPv4 addresses", text)
		case b.Less(a):
			return Pool{}, fmt.Errorf("%q ends before it begins", text)
		}
		return Pool{a, b}, nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !p.Addr().Is4():
		return Pool{}, fmt.Errorf("%q is no range of IPv4 addresses", text)
	case p != p.Masked():
		return Pool{}, fmt.Errorf("%q has host bits set", text)
	}
	return Pool{p.Addr(), lastOf(p)}, nil
}

// Contains reports whether an address lies in the pool.
func (p Pool) Contains(a netip.Addr) bool {
	return p.First.Compare(a) <= 0 && a.Compare(p.Last) <= 0
}

func (p Pool) overlaps(q Pool) bool { return p.Contains(q.First) || q.Contains(p.First) }

// usableNetwork reports whether machines can be addressed in a network: IPv4, /8 to /29.
func usableNetwork(cidr netip.Prefix) bool {
	return cidr.IsValid() && cidr.Addr().Is4() && cidr.Bits() >= 8 && cidr.Bits() <= 29 && cidr == cidr.Masked()
}

// nth gives the address at a position of an IPv4 network, counted from its own address.
func nth(cidr netip.Prefix, at int) netip.Addr {
	base := cidr.Addr().As4()
	var out [4]byte
	binary.BigEndian.PutUint32(out[:], binary.BigEndian.Uint32(base[:])+uint32(at))
	return netip.AddrFrom4(out)
}

// lastOf gives the last address of an IPv4 prefix, the broadcast address of a network.
func lastOf(cidr netip.Prefix) netip.Addr { return nth(cidr, 1<<(32-cidr.Bits())-1) }

// names lists the keys of choices in order.
func names(choices map[string]Choice) []string { return slices.Sorted(maps.Keys(choices)) }
