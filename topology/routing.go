package topology

import (
	"cmp"
	"net/netip"
	"slices"

	"netlab.dev/netlab/labs"
)

// Routing is the dynamic routing of a router.
type Routing struct {
	ASN       uint32         `json:"asn"`
	RouterID  netip.Addr     `json:"routerID"` // its first address
	Announces []netip.Prefix `json:"announces"`
	Sessions  []Session      `json:"sessions"` // BGP sessions with other routers, one on each network that both are on
}

// Session is a BGP session of a router (RFC 4271).
type Session struct {
	Peer    string     `json:"peer"` // machine
	ASN     uint32     `json:"asn"`  // the peer's
	Network string     `json:"network"`
	Local   netip.Addr `json:"local"`
	Remote  netip.Addr `json:"remote"`        // the peer's address
	BFD     bool       `json:"bfd,omitempty"` // BFD watches the peer: both ends have it
}

// LearnedRoute is a route that a router learns by BGP. Packets are spread over all next hops.
type LearnedRoute struct {
	To  netip.Prefix `json:"to"`
	Via []netip.Addr `json:"via"` // in the order of the router's sessions
}

// routing returns the dynamic routing of a machine, nil for none.
func (b *builder) routing(m member, members []member) *Routing {
	if m.Routing == nil {
		return nil
	}
	r := &Routing{ASN: m.Routing.ASN, RouterID: m.addresses[0], Announces: []netip.Prefix{}, Sessions: []Session{}}
	for i, name := range m.Networks {
		n, _ := b.plan.Network(name)
		r.Announces = append(r.Announces, n.CIDRs...)
		for _, other := range members {
			at := slices.Index(other.Networks, name)
			if at < 0 || other.Routing == nil || !slices.Contains(m.Routing.Neighbors, other.Name) {
				continue
			}
			r.Sessions = append(r.Sessions, Session{
				Peer: other.Name, ASN: other.Routing.ASN, Network: name, Local: m.addresses[i], Remote: other.addresses[at],
				BFD: m.Routing.Has(labs.ProtocolBFD) && other.Routing.Has(labs.ProtocolBFD),
			})
		}
	}
	return r
}

// path is how a router reaches a prefix: by itself, where it has no next hop.
type path struct {
	systems []uint32     // AS_PATH: the nearest autonomous system first
	via     []netip.Addr // of the best paths, which have equally many systems
	from    string       // the peer whose path is announced further
}

// tables are the best paths of each router.
type tables map[string]map[netip.Prefix]path

// learn computes what routers learn from each other, as FRR decides it with maximum-paths and
// compare-routerid: the shortest path, by all peers that offer one as short; of them the peer with
// the lowest router ID is announced further, and no router takes a path that its own system is in.
// It ends: the paths of prefixes that are N systems away are final after N rounds.
func learn(routers map[string]*Routing) tables {
	now := tables{}
	for name, r := range routers {
		now[name] = map[netip.Prefix]path{}
		for _, p := range r.Announces {
			now[name][p] = path{}
		}
	}
	for range routers {
		next := tables{}
		for name, r := range routers {
			next[name] = r.hear(name, routers, now)
		}
		now = next
	}
	return now
}

// hear returns a router's best paths, given those of its peers.
func (r *Routing) hear(name string, routers map[string]*Routing, now tables) map[netip.Prefix]path {
	best := map[netip.Prefix]path{}
	for _, p := range r.Announces {
		best[p] = path{}
	}
	for _, s := range r.Sessions {
		for prefix, offer := range now[s.Peer] {
			if offer.from == name || slices.Contains(offer.systems, r.ASN) || slices.Contains(r.Announces, prefix) {
				continue
			}
			systems := append([]uint32{s.ASN}, offer.systems...)
			is, known := best[prefix]
			switch {
			case !known || len(systems) < len(is.systems):
				best[prefix] = path{systems, []netip.Addr{s.Remote}, s.Peer}
			case len(systems) == len(is.systems):
				is.via = append(is.via, s.Remote)
				if routers[s.Peer].RouterID.Less(routers[is.from].RouterID) {
					is.systems, is.from = systems, s.Peer
				}
				best[prefix] = is
			}
		}
	}
	return best
}

// learned returns the routes of a router, by prefix.
func (t tables) learned(router string) []LearnedRoute {
	routes := []LearnedRoute{}
	for to, p := range t[router] {
		if len(p.via) > 0 {
			routes = append(routes, LearnedRoute{To: to, Via: p.via})
		}
	}
	slices.SortFunc(routes, func(a, b LearnedRoute) int {
		return cmp.Or(a.To.Addr().Compare(b.To.Addr()), cmp.Compare(a.To.Bits(), b.To.Bits()))
	})
	return routes
}

// Learned returns the routes that a router learns by BGP if all routers of the plan are on.
func (p Plan) Learned(router string) []LearnedRoute {
	if m, _ := p.Machine(router); m.Routing == nil {
		return nil
	}
	routers := map[string]*Routing{}
	for _, m := range p.Machines {
		if m.Routing != nil {
			routers[m.Name] = m.Routing
		}
	}
	return learn(routers).learned(router)
}
