package topology

import (
	"fmt"
	"net/netip"
	"slices"
)

// Nearest returns the first of some addresses that a machine reaches, and the way there. Where
// it reaches none, that is the first address, and the way's reason says why.
func Nearest(p Plan, from string, addresses []netip.Addr) (netip.Addr, Reachability) {
	if len(addresses) == 0 {
		return netip.Addr{}, Reachability{Reason: "no address to reach"}
	}
	for _, a := range addresses {
		if w := Reach(p, from, a); w.Reachable() {
			return a, w
		}
	}
	return addresses[0], Reach(p, from, addresses[0])
}

// Addresses returns the addresses of all the machine's NICs, that of eth0 first.
func (m Machine) Addresses() []netip.Addr {
	var out []netip.Addr
	for _, nic := range m.NICs {
		for _, a := range nic.Addresses {
			out = append(out, a.Addr())
		}
	}
	return out
}

// rangeOf names the range that an address lies in, for reasons: a network's CIDR, the Service or
// Pod CIDR, or the address itself.
func (p Plan) rangeOf(a netip.Addr) string {
	ranges := slices.Concat(p.Kubernetes.ServiceCIDRs, p.Kubernetes.PodCIDRs)
	for _, n := range p.Networks {
		ranges = append(ranges, n.CIDRs...)
	}
	if i := slices.IndexFunc(ranges, contains(a)); i >= 0 {
		return ranges[i].String()
	}
	return a.String()
}

func (p Plan) noRoute(m Machine, to netip.Addr) string {
	return fmt.Sprintf("%s has no route to %s", m.Name, p.rangeOf(to))
}
