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
	Sessions  []Session      `json:"sessions"` // one with each neighbor on each network that both are on, then one with each Node
}

// BGP is how Nodes announce VIPs: each Node by a session with each of Peers.
type BGP struct {
	labs.BGP
	Peers []Peer `json:"peers"`
}

// Announced is the prefix that a VIP is announced in.
func (b BGP) Announced(vip netip.Addr) netip.Prefix {
	p, err := vip.Prefix(b.AggregationLength)
	if err != nil { // an address of IPv6, which labs do not have
		return netip.PrefixFrom(vip, vip.BitLen())
	}
	return p
}

// Peer is a router that Nodes have sessions with, which the Nodes open.
type Peer struct {
	Router  string     `json:"router"`
	ASN     uint32     `json:"asn"`
	Address netip.Addr `json:"address"` // on the Nodes' first network
}

// Session is a BGP session of a router (RFC 4271).
type Session struct {
	Peer    string     `json:"peer"`           // machine
	Node    bool       `json:"node,omitempty"` // the peer is a Node, which announces VIPs and opens the session
	ASN     uint32     `json:"asn"`            // the peer's
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
	r.Sessions = append(r.Sessions, b.nodeSessions(m, members)...)
	return r
}

// nodeSessions are those of a router with the Nodes, on the network that all Nodes are on first.
func (b *builder) nodeSessions(router member, members []member) (sessions []Session) {
	if !slices.ContainsFunc(b.lab.Peers(), func(h labs.Host) bool { return h.Name == router.Name }) {
		return nil
	}
	bgp := b.lab.LoadBalancer.BGP
	for _, m := range members {
		if !m.Node {
			continue
		}
		at := slices.Index(router.Networks, m.Networks[0])
		sessions = append(sessions, Session{
			Peer: m.Name, Node: true, ASN: bgp.ASN, Network: m.Networks[0], Local: router.addresses[at], Remote: m.addresses[0],
			BFD: bgp.BFD && router.Routing.Has(labs.ProtocolBFD),
		})
	}
	return sessions
}

// bgp is how the lab's Nodes announce VIPs, nil if they do so otherwise.
func (b *builder) bgp() *BGP {
	given := b.lab.LoadBalancer.BGP
	if b.lab.LoadBalancer.Mode != labs.ModeBGP || given == nil {
		return nil
	}
	out := &BGP{BGP: *given, Peers: []Peer{}}
	network := b.lab.Nodes[0].Networks[0]
	for _, h := range b.lab.Peers() {
		m, _ := b.plan.Machine(h.Name)
		nic, _ := m.On(network)
		out.Peers = append(out.Peers, Peer{Router: h.Name, ASN: h.Routing.ASN, Address: nic.Address().Addr()})
	}
	return out
}

// path is how a router reaches a prefix: by itself, where it has no next hop.
type path struct {
	systems []uint32     // AS_PATH: the nearest autonomous system first
	via     []netip.Addr // of the best paths, which have equally many systems
	from    string       // the peer whose path is announced further
}

// Announced are the VIPs that each Node announces, by the Node's name.
type Announced map[string][]netip.Prefix

// Routes are what routers learn from each other and from Nodes.
type Routes struct {
	routers map[string]*Routing
	best    map[string]map[netip.Prefix]path // by the machine
}

// Routes computes what routers learn if all of the plan are on, as FRR decides it with maximum-paths
// and compare-routerid: the shortest path, by all peers that offer one as short; of them the peer
// with the lowest router ID is announced further, and no router takes a path that its own system
// is in.
func (p Plan) Routes(vips Announced) Routes {
	speakers := map[string]*Routing{}
	for _, m := range p.Machines {
		if m.Routing != nil {
			speakers[m.Name] = m.Routing
		} else if len(vips[m.Name]) > 0 {
			speakers[m.Name] = &Routing{RouterID: m.Address(), Announces: vips[m.Name]}
		}
	}
	return learn(speakers)
}

// learn exchanges paths until none changes: those of N systems are final after N rounds.
func learn(speakers map[string]*Routing) Routes {
	now := Routes{speakers, map[string]map[netip.Prefix]path{}}
	for range len(speakers) + 1 {
		next := map[string]map[netip.Prefix]path{}
		for name := range speakers {
			next[name] = now.hear(name)
		}
		now.best = next
	}
	return now
}

// hear returns a speaker's best paths, given what its peers have now.
func (t Routes) hear(name string) map[netip.Prefix]path {
	best := map[netip.Prefix]path{}
	for _, p := range t.routers[name].Announces {
		best[p] = path{}
	}
	for _, s := range t.routers[name].Sessions {
		for _, prefix := range t.Received(name, s) {
			systems := append([]uint32{s.ASN}, t.best[s.Peer][prefix].systems...)
			is, known := best[prefix]
			switch {
			case !known || len(systems) < len(is.systems):
				best[prefix] = path{systems, []netip.Addr{s.Remote}, s.Peer}
			case len(systems) == len(is.systems):
				is.via = append(is.via, s.Remote)
				if t.routers[s.Peer].RouterID.Less(t.routers[is.from].RouterID) {
					is.systems, is.from = systems, s.Peer
				}
				best[prefix] = is
			}
		}
	}
	return best
}

// Received returns the prefixes that a router accepts from the peer of one of its sessions, in order.
func (t Routes) Received(router string, s Session) []netip.Prefix {
	prefixes := []netip.Prefix{}
	for prefix, offer := range t.best[s.Peer] {
		if offer.from != router && !slices.Contains(offer.systems, t.routers[router].ASN) {
			prefixes = append(prefixes, prefix)
		}
	}
	slices.SortFunc(prefixes, comparePrefixes)
	return prefixes
}

// Learned returns the routes that a router learns, by prefix: not those that it announces itself.
func (t Routes) Learned(router string) []LearnedRoute {
	routes := []LearnedRoute{}
	for to, p := range t.best[router] {
		if len(p.via) > 0 {
			routes = append(routes, LearnedRoute{To: to, Via: p.via})
		}
	}
	slices.SortFunc(routes, func(a, b LearnedRoute) int { return comparePrefixes(a.To, b.To) })
	return routes
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// learnedFor returns the routes that a machine learns, those of Nodes to an address too if it is a
// VIP: any Node may announce it.
func (p Plan) learnedFor(m Machine, to netip.Addr) []LearnedRoute {
	if m.Routing == nil {
		return nil
	}
	vips := Announced{}
	if p.routed(to) {
		for _, n := range p.Nodes() {
			vips[n.Name] = []netip.Prefix{p.LoadBalancer.BGP.Announced(to)}
		}
	}
	return p.Routes(vips).Learned(m.Name)
}

// routed reports whether an address is a VIP that Nodes announce to routers.
func (p Plan) routed(a netip.Addr) bool {
	return p.LoadBalancer.BGP != nil && p.LoadBalancer.Contains(a)
}
