package labs

import (
	"fmt"
	"slices"
)

// maxASN is the largest number that is not reserved (RFC 7300).
const maxASN = 4294967294

// reservedASNs are AS_TRANS (RFC 6793) and the last number of 16 bits (RFC 7300).
var reservedASNs = []uint32{23456, 65535}

// routing checks the dynamic routing of a host.
func (v *validator) routing(at string, h Host) {
	if h.Role != RoleRouter {
		v.add(at, "remove it, or set role: "+RoleRouter, "host with role %s has no routing", h.Role)
		return
	}
	r := h.Routing
	switch {
	case r.ASN > maxASN:
		v.add(at+".asn", fmt.Sprintf("must be between 1 and %d, for example %d", uint32(maxASN), firstASN), "%d is out of range", r.ASN)
	case slices.Contains(reservedASNs, r.ASN):
		v.add(at+".asn", fmt.Sprintf("for example %d", firstASN), "%d is reserved", r.ASN)
	}
	known := true
	for i, p := range r.Protocols {
		field := fmt.Sprintf("%s.protocols[%d]", at, i)
		known = v.oneOf(field, "routing protocol", p, protocols()) && known
		if slices.Contains(r.Protocols[:i], p) {
			v.add(field, "remove one", "%s is listed twice", p)
		}
	}
	if known && !r.Has(ProtocolBGP) && !v.reported(at+".protocols") {
		v.add(at+".protocols", "add "+ProtocolBGP, "%s is missing: it is what routers exchange routes by", ProtocolBGP)
	}
	for i, name := range r.Neighbors {
		v.neighbor(fmt.Sprintf("%s.neighbors[%d]", at, i), h, name, slices.Contains(r.Neighbors[:i], name))
	}
}

// neighbor checks one neighbor of a router.
func (v *validator) neighbor(field string, h Host, name string, again bool) {
	i := slices.IndexFunc(v.lab.Hosts, func(o Host) bool { return o.Name == name })
	if i < 0 || name == h.Name || v.lab.Hosts[i].Role != RoleRouter {
		var known []string
		for _, o := range v.lab.Hosts {
			if o.Role == RoleRouter && o.Name != h.Name {
				known = append(known, o.Name)
			}
		}
		v.oneOf(field, "router beside "+h.Name, name, slices.DeleteFunc(known, func(k string) bool { return k == name }))
		return
	}
	other := v.lab.Hosts[i]
	switch {
	case again:
		v.add(field, "remove one", "%s is listed twice", name)
	case other.Routing == nil:
		v.add(field, "add routing: {} to it", "router %s has no routing", name)
	case len(shared(h, other)) == 0:
		v.add(field, "attach both to one network", "%s and %s share no network", h.Name, name)
	case !slices.Contains(other.Routing.Neighbors, h.Name):
		v.add(field, fmt.Sprintf("add %s to the neighbors of %s, or remove it here", h.Name, name), "%s does not list %s", name, h.Name)
	case other.Routing.ASN == h.Routing.ASN:
		v.add(field, "use another asn for one of them: sessions inside an AS (iBGP) are not supported", "%s and %s both have AS %d", h.Name, name, h.Routing.ASN)
	}
}
