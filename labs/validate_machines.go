package labs

import (
	"fmt"
	"slices"
)

func (v *validator) nodes() {
	for i, g := range v.lab.Nodes {
		at := fmt.Sprintf("nodes[%d]", i)
		v.label(at+".name", g.Name)
		v.oneOf(at+".role", "Node role", g.Role, []string{RoleControlPlane, RoleWorker})
		if v.has(at+".count") && g.Count < 1 || g.Count > maxCount {
			v.add(at+".count", fmt.Sprintf("must be between 1 and %d", maxCount), "%d is out of range", g.Count)
		}
		v.attached(at, "Node", g.Networks)
		v.placed(at, g)
		first := v.lab.Nodes[0].Networks
		if len(first) > 0 && len(g.Networks) > 0 && g.Networks[0] != first[0] && v.isNetwork(g.Networks[0]) {
			v.add(at+".networks", "list the same network first for all Nodes: it carries their InternalIPs",
				"first network is %s, that of %s is %s", g.Networks[0], v.lab.Nodes[0].Name, first[0])
		}
	}
	switch n := v.lab.controlPlanes(); {
	case n == 0 && v.reported("nodes"):
	case n == 0:
		v.add("nodes", "set role: control-plane on one Node", "lab has no control plane")
	case n > maxControlPlanes:
		v.add("nodes", fmt.Sprintf("use %d", maxControlPlanes), "%d control planes exceed the maximum of %d: each etcd member adds latency", n, maxControlPlanes)
	case n%2 == 0:
		v.add("nodes", fmt.Sprintf("use %d or %d", n-1, n+1), "%d control planes: etcd requires an odd number of members for its quorum", n)
	}
}

// maxControlPlanes is the maximum that etcd recommends (https://etcd.io/docs/v3.6/faq/).
const maxControlPlanes = 5

func (v *validator) hosts() {
	internet := ""
	v.balancers()
	v.clouds()
	v.vrrp()
	for i, h := range v.lab.Hosts {
		at := fmt.Sprintf("hosts[%d]", i)
		v.label(at+".name", h.Name)
		v.oneOf(at+".role", "host role", h.Role, []string{RoleRouter, RoleClient, RoleInternet, RoleAPILB, RoleLoadBalancer, RoleCloud})
		v.attached(at, "host", h.Networks)
		switch h.Role {
		case RoleInternet:
			if internet != "" {
				v.add(at+".role", "keep one: it serves DNS for the lab", "%s already has role internet", internet)
			}
			internet = h.Name
		case RoleRouter:
			if len(h.Networks) == 1 {
				v.add(at+".networks", "attach it to two or more networks", "router is attached to %s only", h.Networks[0])
			}
		}
		if h.Routing != nil {
			v.routing(at+".routing", h)
		}
	}
}

// balancers checks that several control planes have exactly one load balancer, and a single
// one has none.
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
			v.add(at+".role", "keep one: it has the API server's address", "%s already has role api-lb", name)
		case controlPlanes == 1:
			v.add(at+".role", "remove the host, or use three control planes", "api-lb requires several control planes, the lab has one")
		case len(nodes) > 0 && len(nodes[0].Networks) > 0 && len(h.Networks) > 0 && h.Networks[0] != nodes[0].Networks[0] && v.isNetwork(h.Networks[0]):
			v.add(at+".networks", "list the Nodes' network first: they reach the API server there",
				"first network is %s, that of the Nodes is %s", h.Networks[0], nodes[0].Networks[0])
		}
		name = h.Name
	}
	if name == "" && controlPlanes > 1 {
		v.add("hosts", "add one, for example {name: api, role: api-lb}, or rename machine "+balancer,
			"%d control planes require a host with role api-lb", controlPlanes)
	}
}

// clouds checks that a load balancer that runs on an outside host has one, and that no other lab has.
func (v *validator) clouds() {
	lb, name := v.lab.LoadBalancer, ""
	role := v.lab.loadBalancerChoice(v.known).Host
	for i, h := range v.lab.Hosts {
		at := fmt.Sprintf("hosts[%d].role", i)
		switch {
		case h.Role != RoleCloud:
			continue
		case role != RoleCloud && !v.reported("loadBalancer.name"):
			v.add(at, "remove the host, or set loadBalancer: {name: cloud}", "host with role %s requires a load balancer that runs on it, the lab's is %s", RoleCloud, lb.Name)
		case name != "":
			v.add(at, "keep one: it has all VIPs", "%s already has role %s", name, RoleCloud)
		}
		name = h.Name
	}
	if role != "" && name == "" {
		v.add("hosts", fmt.Sprintf("add one, for example {name: provider, role: %s}, or rename machine %s", role, role),
			"loadBalancer %s requires a host with role %s", lb.Name, role)
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
		v.add(at, "list at least one", "%s has no network", what)
	}
	for i, n := range networks {
		field := fmt.Sprintf("%s[%d]", at, i)
		if !v.reported("networks") {
			v.oneOf(field, "network of the lab", n, known)
		}
		if n != "" && slices.Contains(networks[:i], n) {
			v.add(field, "remove one: a machine has one NIC in each network", "%s is listed twice", n)
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
			what := "duplicate name " + m.Name + ", first in " + first.Field
			if first.Field == m.Field {
				what = "duplicate name " + m.Name
			}
			v.add(m.Field+".name", "names must be unique among Nodes and hosts", "%s", what)
			continue
		}
		seen[m.Name] = m
		if len(m.Name) > 63 && len(m.Name) > len(v.groupName(m)) {
			v.add(m.Field+".name", "use 63 at most, including the number", "%s has %d characters", m.Name, len(m.Name))
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
