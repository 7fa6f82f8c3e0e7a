package labs

import (
	"fmt"
	"slices"
)

func (v *validator) nodes() {
	controlPlanes := 0
	for i, g := range v.lab.Nodes {
		at := fmt.Sprintf("nodes[%d]", i)
		v.label(at+".name", g.Name)
		v.oneOf(at+".role", "role of a Node", g.Role, []string{RoleControlPlane, RoleWorker})
		if v.has(at+".count") && g.Count < 1 || g.Count > maxCount {
			v.add(at+".count", fmt.Sprintf("from 1 to %d", maxCount), "%d is out of range", g.Count)
		}
		if g.Role == RoleControlPlane {
			controlPlanes += max(g.Count, 1)
		}
		v.attached(at, "Node", g.Networks)
		first := v.lab.Nodes[0].Networks
		if len(first) > 0 && len(g.Networks) > 0 && g.Networks[0] != first[0] && v.isNetwork(g.Networks[0]) {
			v.add(at+".networks", "Node addresses are on the first network and must reach each other",
				"%s comes first, for %s it is %s", g.Networks[0], v.lab.Nodes[0].Name, first[0])
		}
	}
	switch {
	case controlPlanes == 0 && v.told("nodes"):
	case controlPlanes == 0:
		v.add("nodes", "give one the role control-plane", "there is no control plane")
	case controlPlanes%2 == 0:
		v.add("nodes", "keep one", "%d control planes: etcd wants an odd number to keep a majority", controlPlanes)
	case controlPlanes > 1:
		v.add("nodes", "keep one", "%d control planes: highly available control planes come with provider libvirt", controlPlanes)
	}
}

func (v *validator) hosts() {
	routerOf := map[string]string{}
	internet := ""
	for i, h := range v.lab.Hosts {
		at := fmt.Sprintf("hosts[%d]", i)
		v.label(at+".name", h.Name)
		v.oneOf(at+".role", "role of a host", h.Role, []string{RoleRouter, RoleClient, RoleInternet})
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
	for _, m := range v.lab.expand() {
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
