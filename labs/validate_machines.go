package labs

import (
	"fmt"
	"slices"
)

func (v *validator) nodes() {
	for i, g := range v.lab.Nodes {
		at := fmt.Sprintf("nodes[%d]", i)
		v.label(at+".name", g.Name)
		v.oneOf(at+".role", "role of a Node", g.Role, []string{RoleControlPlane, RoleWorker})
		if v.has(at+".count") && g.Count < 1 || g.Count > maxCount {
			v.add(at+".count", fmt.Sprintf("from 1 to %d", maxCount), "%d is out of range", g.Count)
		}
		v.attached(at, "Node", g.Networks)
		v.placed(at, g)
		first := v.lab.Nodes[0].Networks
		if len(first) > 0 && len(g.Networks) > 0 && g.Networks[0] != first[0] && v.isNetwork(g.Networks[0]) {
			v.add(at+".networks", "Node addresses are on the first network and must reach each other",
				"%s comes first, for %s it is %s", g.Networks[0], v.lab.Nodes[0].Name, first[0])
		}
	}
	switch n := v.lab.controlPlanes(); {
	case n == 0 && v.told("nodes"):
	case n == 0:
		v.add("nodes", "give one the role control-plane", "there is no control plane")
	case n > maxControlPlanes:
		v.add("nodes", fmt.Sprintf("make it %d", maxControlPlanes), "%d control planes: each member more makes etcd slower, and a lab has %d at most", n, maxControlPlanes)
	case n%2 == 0:
		v.add("nodes", fmt.Sprintf("make it %d or %d", n-1, n+1), "%d control planes: etcd wants an odd number to keep a majority", n)
	}
}

// maxControlPlanes is what etcd advises as the most (https://etcd.io/docs/v3.6/faq/).
const maxControlPlanes = 5

func (v *validator) hosts() {
	routerOf := map[string]string{}
	internet := ""
	v.balancers()
	for i, h := range v.lab.Hosts {
		at := fmt.Sprintf("hosts[%d]", i)
		v.label(at+".name", h.Name)
		v.oneOf(at+".role", "role of a host", h.Role, []string{RoleRouter, RoleClient, RoleInternet, RoleAPILB})
		v.attached(at, "host", h.Networks)
		switch h.Role {
		case RoleInternet:
			if internet != "" {
				v.add(at+".role", "it serves DNS for the lab: keep one", "%s is the internet already", internet)
			}
			internet = h.Name
		case RoleRouter:
			if len(h.Networks) == 1 {
				v.add(at+".networks", "name two or more", "a router between %s and nothing", h.Networks[0])
			}
			for j, n := range h.Networks {
				if other := routerOf[n]; other != "" && other != h.Name {
					v.add(fmt.Sprintf("%s.networks[%d]", at, j), "a network has one router", "%s has the router %s", n, other)
				}
				routerOf[n] = h.Name
			}
		}
	}
}

// balancers checks that several control planes have one load balancer, and one has none.
func (v *validator) balancers() {
	controlPlanes, name := v.lab.controlPlanes(), ""
	for i, h := range v.lab.Hosts {
		if h.Role != RoleAPILB {
			continue
		}
		at := fmt.Sprintf("hosts[%d]", i)
		nodes := v.lab.Nodes
		switch {
		case name != "":
			v.add(at+".role", "it has the API server's address: keep one", "%s is the load balancer already", name)
		case controlPlanes == 1:
			v.add(at+".role", "leave the host out, or make it three control planes", "a load balancer in front of one control plane")
		case len(nodes) > 0 && len(nodes[0].Networks) > 0 && len(h.Networks) > 0 && h.Networks[0] != nodes[0].Networks[0] && v.isNetwork(h.Networks[0]):
			v.add(at+".networks", "the Nodes reach the API server there",
				"%s comes first, for the Nodes it is %s", h.Networks[0], nodes[0].Networks[0])
		}
		name = h.Name
	}
	if name == "" && controlPlanes > 1 {
		v.add("hosts", "add one such as {name: api, role: api-lb}, or call no other machine "+balancer,
			"%d control planes, and no load balancer in front of them", controlPlanes)
	}
}

// attached checks the networks of a Node group or a host.
func (v *validator) attached(at, what string, networks []string) {
	at += ".networks"
	var known []string
	for _, n := range v.lab.Networks {
		known = append(known, n.Name)
	}
	if len(networks) == 0 && len(known) > 0 {
		v.add(at, "name one", "the %s is on no network", what)
	}
	for i, n := range networks {
		field := fmt.Sprintf("%s[%d]", at, i)
		if !v.told("networks") {
			v.oneOf(field, "network of the lab", n, known)
		}
		if n != "" && slices.Contains(networks[:i], n) {
			v.add(field, "one NIC a network", "%s is listed twice", n)
		}
	}
}

func (v *validator) isNetwork(name string) bool {
	return slices.ContainsFunc(v.lab.Networks, func(n Network) bool { return n.Name == name })
}

// memberNames checks names after the groups are expanded, across Nodes and hosts.
func (v *validator) memberNames() {
	seen := map[string]Member{}
	for _, m := range v.lab.Members() {
		if m.Name == "" {
			continue
		}
		if first, again := seen[m.Name]; again {
			what := "the name " + m.Name + " is also in " + first.Field
			if first.Field == m.Field {
				what = "the name " + m.Name + " is there twice"
			}
			v.add(m.Field+".name", "names are unique among Nodes and hosts", "%s", what)
			continue
		}
		seen[m.Name] = m
		if len(m.Name) > 63 && len(m.Name) > len(v.groupName(m)) {
			v.add(m.Field+".name", "63 at most, the number included", "%s has %d characters", m.Name, len(m.Name))
		}
	}
}

func (v *validator) groupName(m Member) string {
	for i, g := range v.lab.Nodes {
		if m.Field == fmt.Sprintf("nodes[%d]", i) {
			return g.Name
		}
	}
	return m.Name
}
