package topology

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
)

// Changes are the differences between a running lab and a Plan.
type Changes struct {
	Remake  []string `json:"remake,omitempty"`  // why the cluster must be recreated; none: it is kept
	Add     []string `json:"add,omitempty"`     // new machines
	Remove  []string `json:"remove,omitempty"`  // machines to remove
	Replace []string `json:"replace,omitempty"` // machines to recreate
	// Because says for each machine of Replace what of it differs.
	Because map[string][]string `json:"because,omitempty"`
	Update  []string            `json:"update,omitempty"` // components whose version changes in place
	Apply   []string            `json:"apply,omitempty"`  // what is reconfigured in place
	// Compare, which sees neither manifests nor a cluster, leaves these empty.
	Users   []string `json:"manifests,omitempty"` // of the user's manifests: "apply Deployment shop/web", "delete …"
	Restore []string `json:"restore,omitempty"`   // how the lab differs from what was made of its file
	Lose    []string `json:"lose,omitempty"`      // what of the user's these changes delete
}

// None reports whether there is nothing to do.
func (c Changes) None() bool { return reflect.DeepEqual(c, Changes{}) }

// Deletes names what of the user's goes, in few words: kinds with their count. "" if nothing does.
func (c Changes) Deletes() string {
	var all []string
	for _, line := range c.Lose {
		what, _, _ := strings.Cut(line, ": ")
		all = append(all, what)
	}
	return strings.Join(all, "; ")
}

// Lines returns the changes as text, one per line.
func (c Changes) Lines() []string {
	var lines []string
	each := func(format string, items []string) {
		for _, i := range items {
			lines = append(lines, fmt.Sprintf(format, i))
		}
	}
	each("recreate the cluster: %s", c.Remake)
	each("remove machine %s", c.Remove)
	for _, name := range c.Replace {
		lines = append(lines, strings.TrimSuffix("recreate machine "+name+": "+strings.Join(c.Because[name], ", "), ": "))
	}
	each("add machine %s", c.Add)
	each("update in place: %s", c.Update)
	each("configure %s", c.Apply)
	each("manifests: %s", c.Users)
	each("restore: %s", c.Restore)
	each("delete %s", c.Lose)
	return lines
}

// Compare returns the changes from a running Plan to a wanted one. A change of what a running
// cluster cannot change (its CNI, CIDRs, control plane) recreates it; any other change
// affects only what differs. Another version of the same CNI, load balancer or ingress controller is
// applied over the one that runs, as their users do it.
func Compare(runs, wanted Plan) Changes {
	var c Changes
	remake := func(what string, was, is any) { c.Remake = append(c.Remake, differing(what, was, is)...) }
	// Labs created before these had versions count as having the wanted ones.
	runs.LoadBalancer.Version = cmp.Or(runs.LoadBalancer.Version, wanted.LoadBalancer.Version)
	runs.Ingress.Version = cmp.Or(runs.Ingress.Version, wanted.Ingress.Version)
	remake("provider", runs.Provider, wanted.Provider)
	if runs.Provider == wanted.Provider {
		remake(wanted.Provider, data(runs.Settings), data(wanted.Settings))
	}
	remake("kubernetes", runs.Kubernetes, wanted.Kubernetes)
	for _, k := range []struct {
		field, was, is string
		from, to       *string
	}{
		{"cni", runs.CNI.Name, wanted.CNI.Name, &runs.CNI.Version, &wanted.CNI.Version},
		{"loadBalancer", runs.LoadBalancer.Name, wanted.LoadBalancer.Name, &runs.LoadBalancer.Version, &wanted.LoadBalancer.Version},
		{"ingress", runs.Ingress.Name, wanted.Ingress.Name, &runs.Ingress.Version, &wanted.Ingress.Version},
	} {
		if k.was == k.is {
			c.Update = append(c.Update, differing(k.field+".version", *k.from, *k.to)...)
			*k.from = *k.to
		}
	}
	remake("cni", runs.CNI, wanted.CNI)
	remake("loadBalancer.name", runs.LoadBalancer.Name, wanted.LoadBalancer.Name)
	remake("loadBalancer.version", runs.LoadBalancer.Version, wanted.LoadBalancer.Version)
	remake("ingress.name", runs.Ingress.Name, wanted.Ingress.Name)
	remake("ingress.version", runs.Ingress.Version, wanted.Ingress.Version)

	for _, was := range runs.Machines {
		is, kept := wanted.Machine(was.Name)
		switch {
		case reflect.DeepEqual(was, is):
		case kept && rerouted(was, is):
			c.Apply = append(c.Apply, "routing of "+was.Name)
		case was.Role == RoleControlPlane:
			for _, what := range changed(was, is, kept) {
				c.Remake = append(c.Remake, fmt.Sprintf("control plane %s: %s", was.Name, what))
			}
		case kept:
			c.Replace = append(c.Replace, was.Name)
			if c.Because == nil {
				c.Because = map[string][]string{}
			}
			c.Because[was.Name] = changed(was, is, kept)
		default:
			c.Remove = append(c.Remove, was.Name)
		}
	}
	for _, is := range wanted.Machines {
		_, was := runs.Machine(is.Name)
		switch {
		case was:
		case is.Role == RoleControlPlane: // the members of etcd are fixed
			c.Remake = append(c.Remake, fmt.Sprintf("control plane %s is new", is.Name))
		default:
			c.Add = append(c.Add, is.Name)
		}
	}
	apply := func(what string, was, is any) {
		if !reflect.DeepEqual(was, is) {
			c.Apply = append(c.Apply, what)
		}
	}
	vni := uint32(0) // those of the file are placeholders
	apply("networks", runs.Networks, wanted.WithVNIs(runs, func() uint32 { vni += 1 << 8; return vni }).Networks)
	apply("loadBalancer pools", runs.LoadBalancer.Pools, wanted.LoadBalancer.Pools)
	runs.LoadBalancer.Pools, wanted.LoadBalancer.Pools = nil, nil
	apply("how VIPs are announced", runs.LoadBalancer, wanted.LoadBalancer)
	apply("ingress service", runs.Ingress, wanted.Ingress)
	apply("outside DNS names", runs.Names, wanted.Names)
	apply("hostAccess", runs.HostAccess, wanted.HostAccess)
	apply("verification", runs.Verify, wanted.Verify)
	apply("images", runs.Images, wanted.Images)
	apply("limits", runs.Limits, wanted.Limits)
	if len(c.Remake) > 0 {
		return Changes{Remake: c.Remake}
	}
	return c
}

// rerouted reports whether of a router only its sessions and what it announces differ: its daemons are
// restarted.
func rerouted(was, is Machine) bool {
	if was.Routing == nil || is.Routing == nil {
		return false
	}
	was.Routing, is.Routing = nil, nil
	return reflect.DeepEqual(was, is)
}

// data returns settings in the form that is compared.
func data(s *Settings) Opaque {
	if s == nil {
		return "null"
	}
	return s.Data
}
