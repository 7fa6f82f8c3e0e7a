package topology

import (
	"net/netip"
	"slices"
)

// routes returns the static routes of a machine: a default route to the gateway of its first
// network that has one, which for a router is only a gateway outside the lab; and one to each
// network of the lab that is reached by another router, and that it does not learn.
func (b *builder) routes(m member, members []member, learned []LearnedRoute) []Route {
	routes := []Route{}
	var gateway netip.Addr
	for _, name := range m.Networks {
		n, _ := b.plan.Network(name)
		if n.Gateway().IsValid() && (m.Role != RoleRouter || n.External) {
			gateway = n.Gateway()
			routes = append(routes, Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: gateway})
			break
		}
	}
	next := nextHops(m, members)
	for _, n := range b.plan.Networks {
		learns := slices.ContainsFunc(learned, func(l LearnedRoute) bool { return l.To == n.CIDR() })
		if via, reached := next[n.Name]; reached && via != gateway && !learns {
			routes = append(routes, Route{To: n.CIDR(), Via: via})
		}
	}
	return routes
}

// nextHops returns the address of the first router on the shortest way from a machine to each
// network that it is not on, and that routers lead to.
func nextHops(m member, members []member) map[string]netip.Addr {
	next := map[string]netip.Addr{}
	queue := slices.Clone(m.Networks)
	for at := 0; at < len(queue); at++ {
		for _, r := range members {
			if r.Role != RoleRouter || r.Name == m.Name || !slices.Contains(r.Networks, queue[at]) {
				continue
			}
			via, far := next[queue[at]]
			if !far {
				via = r.nextHop(queue[at])
			}
			for _, n := range r.Networks {
				if !slices.Contains(queue, n) {
					next[n], queue = via, append(queue, n)
				}
			}
		}
	}
	return next
}
