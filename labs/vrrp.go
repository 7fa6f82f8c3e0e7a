package labs

import (
	"fmt"
	"slices"
)

// FieldVRRP is the field of a host that shares VIPs, and in Known.Services what such hosts run
// besides the services of their role.
const FieldVRRP = "vrrp"

// vrrpRoles are the roles whose hosts can share VIPs.
func vrrpRoles() []string { return []string{RoleRouter, RoleLoadBalancer} }

// maxVRRP limits the hosts that share a VIP: their priorities are 200 and less, and a failed
// check takes off 100.
const maxVRRP = 16

// SharedOn are the networks on which a host with vrrp shares a VIP: of a router, which is the gateway
// there, all; else the first.
func (m Member) SharedOn() []string {
	switch {
	case !m.VRRP:
		return nil
	case m.Role == RoleRouter:
		return m.Networks
	}
	return upTo(m.Networks, 0, 1)
}

// vrrp checks the hosts of each role that share VIPs.
func (v *validator) vrrp() {
	shared := map[string][]Host{}
	for i, h := range v.lab.Hosts {
		if !h.VRRP {
			continue
		}
		at := fmt.Sprintf("hosts[%d]", i)
		if !slices.Contains(vrrpRoles(), h.Role) {
			v.add(at+".vrrp", "remove it", "host with role %s shares no VIP", h.Role)
			continue
		}
		shared[h.Role] = append(shared[h.Role], h)
		first := shared[h.Role][0]
		if !slices.Equal(h.Networks, first.Networks) {
			v.add(at+".networks", fmt.Sprintf("attach both to the same networks, in the same order, or remove vrrp from %s", h.Name),
				"%s and %s share a VIP, and their networks differ", first.Name, h.Name)
		}
		if len(shared[h.Role]) == maxVRRP+1 {
			v.add(at+".vrrp", fmt.Sprintf("use %d at most", maxVRRP), "too many hosts with role %s share a VIP", h.Role)
		}
	}
	for i, h := range v.lab.Hosts {
		if h.VRRP && len(shared[h.Role]) == 1 {
			v.add(fmt.Sprintf("hosts[%d].vrrp", i), "add it to another host with role "+h.Role+", or remove it", "%s would share its VIP with no other host", h.Name)
		}
	}
}
