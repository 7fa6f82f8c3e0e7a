package labs

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// FieldRouting is the field of a host with dynamic routing, and in Known.Services what such hosts
// run besides the services of their role.
const FieldRouting = "routing"

// The protocols of a router.
const (
	ProtocolBGP = "bgp"
	ProtocolBFD = "bfd" // RFC 5880, for the sessions of the other
)

func protocols() []string { return []string{ProtocolBGP, ProtocolBFD} }

// The modes of a load balancer: who has the VIPs, and how others get there.
const (
	ModeL2       = "l2"       // Nodes, by ARP
	ModeBGP      = "bgp"      // Nodes, by routes of the lab's routers
	ModeExternal = "external" // a host outside the cluster, by ARP; it forwards to NodePorts
)

// holdTime is that of the routers' own sessions: three keepalives of 3 s.
const holdTime = 9 * time.Second

// The lengths of announced prefixes: from the shortest that a network may have to one VIP.
const (
	minAggregation = 8
	maxAggregation = 32
)

// The default autonomous systems: firstASN of the first router, that of the Nodes, and the numbers
// after it for further routers. Up to 64511 they are for documentation (RFC 5398), then private
// (RFC 6996).
const (
	firstASN = 64500
	nodesASN = 64501
)

// Has reports whether the router speaks a protocol.
func (r Routing) Has(protocol string) bool { return slices.Contains(r.Protocols, protocol) }

// fillBGP sets what the file leaves out of how Nodes announce VIPs. Without a router with routing,
// all routers have it.
func (l *Lab) fillBGP() {
	lb := &l.LoadBalancer
	if lb.Mode != ModeBGP {
		return
	}
	if lb.BGP == nil {
		lb.BGP = &BGP{}
	}
	setIfZero(&lb.BGP.ASN, nodesASN)
	setIfZero(&lb.BGP.HoldTime, Duration{holdTime})
	setIfZero(&lb.BGP.AggregationLength, maxAggregation)
	if len(l.routing()) > 0 {
		return
	}
	for i, h := range l.Hosts {
		if h.Role == RoleRouter {
			l.Hosts[i].Routing = &Routing{}
		}
	}
}

// fillRouting sets what the file leaves out of the routers' routing.
func (l *Lab) fillRouting() {
	used := map[uint32]bool{nodesASN: true}
	if l.LoadBalancer.BGP != nil {
		used[l.LoadBalancer.BGP.ASN] = true
	}
	listed := map[string]bool{} // routers whose neighbors the file lists
	routers := l.routing()
	for _, h := range routers {
		used[h.Routing.ASN] = true
		listed[h.Name] = h.Routing.Neighbors != nil
	}
	next := uint32(firstASN)
	for _, h := range routers {
		r := h.Routing
		for ; r.ASN == 0 && used[next]; next++ {
		}
		setIfZero(&r.ASN, next)
		used[r.ASN] = true
		setIfNil(&r.Protocols, protocols())
	}
	for _, h := range routers {
		if listed[h.Name] {
			continue
		}
		h.Routing.Neighbors = []string{}
		for _, other := range routers {
			wants := !listed[other.Name] || slices.Contains(other.Routing.Neighbors, h.Name)
			if other.Name != h.Name && wants && other.Routing.ASN != h.Routing.ASN && len(shared(h, other)) > 0 {
				h.Routing.Neighbors = append(h.Routing.Neighbors, other.Name)
			}
		}
	}
}

// routing lists the hosts with dynamic routing.
func (l Lab) routing() []Host {
	return slices.DeleteFunc(slices.Clone(l.Hosts), func(h Host) bool { return h.Routing == nil })
}

// shared lists the networks that two hosts are on.
func shared(a, b Host) []string {
	return slices.DeleteFunc(slices.Clone(a.Networks), func(n string) bool { return !slices.Contains(b.Networks, n) })
}

// routedPools are ranges for VIPs that are in no network, of RFC 5737 (documentation) and RFC 2544
// (benchmarks): with aggregation whole prefixes of its length.
func (l Lab) routedPools() (ranges []string) {
	bits := maxAggregation
	if b := l.LoadBalancer.BGP; b != nil && b.AggregationLength >= minAggregation && b.AggregationLength < bits {
		bits = b.AggregationLength
	}
	for _, reserved := range []string{"198.51.100.0/24", "192.0.2.0/24", "203.0.113.0/24", "198.18.0.0/16", "198.19.0.0/16"} {
		r := netip.MustParsePrefix(reserved)
		switch prefix, err := r.Addr().Prefix(bits); {
		case bits == maxAggregation:
			first := r.Addr().Next()
			last := first
			for range defaultVIPs - 1 {
				last = last.Next()
			}
			ranges = append(ranges, fmt.Sprintf("%s-%s", first, last))
		case err == nil && bits >= r.Bits():
			ranges = append(ranges, prefix.String())
		}
	}
	return ranges
}

// defaultVIPs is the size of the default pool.
const defaultVIPs = 20

// freePools are those that overlap nothing of the lab.
func (l Lab) freePools() (free []string) {
	used := []netip.Prefix{l.Kubernetes.PodCIDR, l.Kubernetes.ServiceCIDR}
	for _, n := range l.Networks {
		used = append(used, n.CIDR)
	}
	for _, text := range l.routedPools() {
		if pool, err := ParsePool(text); err == nil && !slices.ContainsFunc(used, pool.overlapsCIDR) {
			free = append(free, text)
		}
	}
	return free
}

// DefaultRoutedPool is the pool of a lab in mode bgp that has none in its file; "" if none is free.
func (l Lab) DefaultRoutedPool() string { return first(l.freePools()) }
