package labs

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Member is one machine of a lab: a Node of a group, or a host.
type Member struct {
	Name       string
	Role       string
	Node       bool   // a Kubernetes Node; else outside the cluster
	Field      string // of the file, such as nodes[1]
	Networks   []string
	Hypervisor string   // of a Node: its NodeGroup's
	Services   []string // of a host
	Routing    *Routing // of a router with dynamic routing
	VRRP       bool     // of a host that shares VIPs
}

// Members expands the Node groups: Nodes first, then hosts, in the lab's order.
func (l Lab) Members() []Member {
	var members []Member
	for i, g := range l.Nodes {
		m := Member{Name: g.Name, Role: g.Role, Node: true, Field: fmt.Sprintf("nodes[%d]", i), Networks: g.Networks, Hypervisor: g.Hypervisor}
		if g.Count == 0 {
			members = append(members, m)
		}
		for n := 1; n <= min(g.Count, maxCount); n++ {
			m.Name = fmt.Sprintf("%s%d", g.Name, n)
			members = append(members, m)
		}
	}
	for i, h := range l.Hosts {
		members = append(members, Member{Name: h.Name, Role: h.Role, Field: fmt.Sprintf("hosts[%d]", i), Networks: h.Networks, Services: l.servicesOf(h), Routing: h.Routing, VRRP: h.VRRP})
	}
	return members
}

// servicesOf names the services of a host: those of its role, of dynamic routing and of shared VIPs.
func (l Lab) servicesOf(h Host) []string {
	all := l.Services[h.Role]
	if h.Routing != nil {
		all = slices.Concat(all, l.Services[FieldRouting])
	}
	if h.VRRP {
		all = slices.Concat(all, l.Services[FieldVRRP])
	}
	return all
}

// maxCount limits a Node group, so that a typing error does not request 2000 Nodes.
const maxCount = 50

// maxMembers limits a lab; no machine runs that many.
const maxMembers = 500

// Pool is a range of addresses, Last included.
type Pool struct{ First, Last netip.Addr }

// ParsePool reads "first-last" or a CIDR.
func ParsePool(text string) (Pool, error) {
	if first, last, ok := strings.Cut(text, "-"); ok {
		a, errA := netip.ParseAddr(strings.TrimSpace(first))
		b, errB := netip.ParseAddr(strings.TrimSpace(last))
		switch {
		case errA != nil || errB != nil || !a.Is4() || !b.Is4():
			return Pool{}, fmt.Errorf("%q is not an IPv4 address range", text)
		case b.Less(a):
			return Pool{}, fmt.Errorf("%q ends before it starts", text)
		}
		return Pool{a, b}, nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !p.Addr().Is4():
		return Pool{}, fmt.Errorf("%q is not an IPv4 address range", text)
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

// shortest is the length of the largest prefix that lies in the pool as a whole.
func (p Pool) shortest() int {
	for bits := 0; bits < 32; bits++ {
		block, err := p.Last.Prefix(bits)
		if err != nil {
			break
		}
		if lastOf(block) != p.Last { // the last whole block before the one that the pool ends in
			block, err = block.Addr().Prev().Prefix(bits)
		}
		if err == nil && p.Contains(block.Addr()) {
			return bits
		}
	}
	return 32
}

// widened is the pool with all that shares a prefix of a length with it.
func (p Pool) widened(bits int) Pool {
	first, err := p.First.Prefix(bits)
	last, err2 := p.Last.Prefix(bits)
	if err != nil || err2 != nil { // a length out of range is reported elsewhere
		return p
	}
	return Pool{first.Addr(), lastOf(last)}
}

func (p Pool) overlapsCIDR(cidr netip.Prefix) bool {
	return cidr.IsValid() && cidr.Addr().Is4() && p.overlaps(Pool{cidr.Masked().Addr(), lastOf(cidr.Masked())})
}

// Usable reports whether machines can be addressed in the network: IPv4, /8 to /29.
func (n Network) Usable() bool {
	cidr := n.CIDR
	return cidr.IsValid() && cidr.Addr().Is4() && cidr.Bits() >= 8 && cidr.Bits() <= 29 && cidr == cidr.Masked()
}

// lastOf returns the last address of an IPv4 prefix, the broadcast address of a network.
func lastOf(cidr netip.Prefix) netip.Addr {
	a := cidr.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|(1<<(32-cidr.Bits())-1))
	return netip.AddrFrom4(a)
}
