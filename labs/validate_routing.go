package labs

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
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
	v.asn(at+".asn", r.ASN)
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

// asn checks the number of an autonomous system.
func (v *validator) asn(field string, asn uint32) {
	switch {
	case asn > maxASN:
		v.add(field, fmt.Sprintf("must be between 1 and %d, for example %d", uint32(maxASN), firstASN), "%d is out of range", asn)
	case slices.Contains(reservedASNs, asn):
		v.add(field, fmt.Sprintf("for example %d", firstASN), "%d is reserved", asn)
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

// bgp checks how Nodes announce VIPs in mode bgp.
func (v *validator) bgp() {
	const at = "loadBalancer.bgp"
	b := v.lab.LoadBalancer.BGP
	if v.lab.LoadBalancer.Mode != ModeBGP {
		if v.has(at) {
			v.add(at, "set mode: "+ModeBGP+", or remove it", "requires mode %s", ModeBGP)
		}
		return
	}
	v.asn(at+".asn", b.ASN)
	// The protocol's minimum is 3 s (RFC 4271, section 4.2), its maximum what 16 bits hold.
	if d := b.HoldTime.Duration; d < 3*time.Second || d > 65535*time.Second || d%time.Second != 0 {
		v.add(at+".holdTime", "use whole seconds, at least 3s", "%s is out of range", d)
	}
	// FRR reads the password from a line of its configuration, and TCP takes 80 bytes at most.
	if strings.ContainsFunc(b.Password, func(r rune) bool { return r <= ' ' || r > '~' }) || len(b.Password) > 80 {
		v.add(at+".password", "use at most 80 letters, digits and signs of ASCII, without spaces", "cannot be used as a password")
	}
	if n := b.AggregationLength; n < minAggregation || n > maxAggregation {
		v.add(at+".aggregationLength", fmt.Sprintf("must be between %d and %d", minAggregation, maxAggregation), "%d is out of range", n)
	}
	for i, c := range b.Communities {
		system, value, _ := strings.Cut(c, ":")
		if !sixteenBits(system) || !sixteenBits(value) {
			v.add(fmt.Sprintf("%s.communities[%d]", at, i), fmt.Sprintf("use AS:VALUE, each up to 65535, for example %d:100", nodesASN), "%q is not a community", c)
		}
	}
	if v.reported("hosts") || v.reported("networks") || v.reported("nodes") {
		return
	}
	if v.lab.LoadBalancer.Pools == nil && v.lab.DefaultRoutedPool() == "" {
		v.add("loadBalancer.pools", "set it to addresses that nothing else has", "has no default: %s", noDefaultPool(v.lab.routedPools()))
	}
	peers := v.lab.Peers()
	if len(peers) == 0 {
		network := first(first(v.lab.Nodes).Networks)
		v.add("loadBalancer.mode", fmt.Sprintf("add {role: router, routing: {}} on network %s, or set mode: %s", network, ModeL2),
			"%s requires a router with routing on network %s, where the Nodes are", ModeBGP, network)
	}
	for _, h := range peers {
		if h.Routing.ASN == b.ASN {
			v.add(at+".asn", "use another one: sessions inside an AS (iBGP) are not supported", "%d is also the asn of router %s", b.ASN, h.Name)
		}
	}
}

// noDefaultPool is why a lab has no default pool.
func noDefaultPool(ranges []string) string {
	if len(ranges) == 0 {
		return "no reserved range is as large as a prefix of aggregationLength"
	}
	return "the lab uses " + strings.Join(ranges, ", ")
}

// sixteenBits reports whether a text is a number of 16 bits, as it is usually written.
func sixteenBits(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == text
}

// Peers are the routers that Nodes announce VIPs to in mode bgp: those with routing on the Nodes' first
// network.
func (l Lab) Peers() []Host {
	network := first(first(l.Nodes).Networks)
	return slices.DeleteFunc(l.routing(), func(h Host) bool {
		return l.LoadBalancer.Mode != ModeBGP || h.Role != RoleRouter || !slices.Contains(h.Networks, network)
	})
}

// poolApart checks that a pool's addresses belong to nothing else, since they are routed and not resolved by
// ARP, and that they can be announced in prefixes of the length that the file asks for.
func (v *validator) poolApart(field, text string, pool Pool) {
	hint := "use addresses that nothing else has"
	if free := v.lab.DefaultRoutedPool(); free != "" {
		hint += ", for example " + free
	}
	bits := v.lab.LoadBalancer.BGP.AggregationLength
	type claim struct {
		what string
		cidr netip.Prefix
	}
	used := []claim{{"kubernetes.podCIDR", v.lab.Kubernetes.PodCIDR}, {"kubernetes.serviceCIDR", v.lab.Kubernetes.ServiceCIDR}}
	for _, n := range v.lab.Networks {
		used = append(used, claim{"network " + n.Name, n.CIDR})
	}
	for _, u := range used {
		switch {
		case pool.overlapsCIDR(u.cidr):
			v.add(field, hint, "%s overlaps %s (%s): in mode %s VIPs are in no network", text, u.what, u.cidr, ModeBGP)
			return
		case pool.widened(bits).overlapsCIDR(u.cidr):
			v.add(field, hint, "%s is announced in prefixes of aggregationLength %d, which overlap %s (%s)", text, bits, u.what, u.cidr)
			return
		}
	}
	if pool.shortest() > bits { // MetalLB refuses it (validateBGPAdvPerPool)
		v.add(field, fmt.Sprintf("use a CIDR of length %d or shorter", bits), "%s contains no whole prefix of aggregationLength %d", text, bits)
	}
}
