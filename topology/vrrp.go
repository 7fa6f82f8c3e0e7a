package topology

import (
	"net/netip"
	"slices"
)

// VRRP is a host's part in the VIPs that it shares with the hosts of its role, by VRRP (RFC 5798).
type VRRP struct {
	Priority int         `json:"priority"` // of those that are on, the host with the highest holds the VIPs
	VIPs     []SharedVIP `json:"vips"`
}

// SharedVIP is a VIP of one network.
type SharedVIP struct {
	Network string     `json:"network"`
	NIC     string     `json:"nic"`
	ID      int        `json:"id"` // the virtual router's (VRID)
	Address netip.Addr `json:"address"`
}

// The virtual routers' IDs, one a role, so that both may be on one network; and the priority of the
// first host of a role, after which each has one less.
const (
	idOfRouters   = 51
	idOfBalancers = 52
	firstPriority = 200
)

// Sharers are the hosts that share a VIP, that with the highest priority first.
type Sharers struct {
	Role    string     `json:"role"`
	Network string     `json:"network"`
	VIP     netip.Addr `json:"vip"`
	Hosts   []string   `json:"hosts"`
}

// Shared lists the VIPs that hosts share, in the order of the hosts.
func (p Plan) Shared() (all []Sharers) {
	for _, m := range p.Machines {
		if m.VRRP == nil {
			continue
		}
		for _, v := range m.VRRP.VIPs {
			i := slices.IndexFunc(all, func(s Sharers) bool { return s.VIP == v.Address })
			if i < 0 {
				i, all = len(all), append(all, Sharers{Role: m.Role, Network: v.Network, VIP: v.Address})
			}
			all[i].Hosts = append(all[i].Hosts, m.Name)
		}
	}
	return all
}

// Holder is the host that should hold the VIP where some machines are off; "" if all hosts are.
func (s Sharers) Holder(off []string) string {
	for _, h := range s.Hosts {
		if !slices.Contains(off, h) {
			return h
		}
	}
	return ""
}

// shares reports whether a VIP that the machine shares is an address.
func (m Machine) shares(a netip.Addr) bool {
	return m.VRRP != nil && slices.ContainsFunc(m.VRRP.VIPs, func(v SharedVIP) bool { return v.Address == a })
}

// vrrp returns a host's part in the VIPs that it shares, nil for none.
func (m member) vrrp(members []member) *VRRP {
	if len(m.shared) == 0 {
		return nil
	}
	out := &VRRP{Priority: firstPriority}
	for _, other := range members {
		if other.Name == m.Name {
			break
		}
		if other.VRRP && other.Role == m.Role {
			out.Priority--
		}
	}
	id := idOfBalancers
	if m.Role == RoleRouter {
		id = idOfRouters
	}
	for i, name := range m.Networks {
		if vip, is := m.shared[name]; is {
			out.VIPs = append(out.VIPs, SharedVIP{Network: name, NIC: nicName(i), ID: id, Address: vip})
		}
	}
	return out
}

// nextHop is the address by which others route packets to a machine, on one of its networks: that of
// the VIP, if it shares one there.
func (m member) nextHop(network string) netip.Addr {
	if vip, is := m.shared[network]; is {
		return vip
	}
	return m.addresses[slices.Index(m.Networks, network)]
}
