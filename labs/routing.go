package labs

import (
	"slices"
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

// The default autonomous systems: firstASN of the first router, that of the Nodes, and the numbers
// after it for further routers. Up to 64511 they are for documentation (RFC 5398), then private
// (RFC 6996).
const (
	firstASN = 64500
	nodesASN = 64501
)

// Has reports whether the router speaks a protocol.
func (r Routing) Has(protocol string) bool { return slices.Contains(r.Protocols, protocol) }

// fillRouting sets what the file leaves out of the routers' routing.
func (l *Lab) fillRouting() {
	used := map[uint32]bool{nodesASN: true}
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
