package topology

import (
	"cmp"
	"fmt"
	"reflect"
)

// Changes are the differences between a running lab and a Plan.
type Changes struct {
	Remake  []string `json:"remake,omitempty"`  // why the cluster must be recreated; none: it is kept
	Add     []string `json:"add,omitempty"`     // new machines
	Remove  []string `json:"remove,omitempty"`  // machines to remove
	Replace []string `json:"replace,omitempty"` // machines to recreate
	Apply   []string `json:"apply,omitempty"`   // what is reconfigured in place
	// Compare, which sees no cluster, leaves these empty.
	Restore []string `json:"restore,omitempty"` // how the lab differs from what was made of its file
	Lose    []string `json:"lose,omitempty"`    // what of the user's these changes delete
}

// None reports whether there is nothing to do.
func (c Changes) None() bool { return reflect.DeepEqual(c, Changes{}) }

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
	each("recreate machine %s", c.Replace)
	each("add machine %s", c.Add)
	each("configure %s", c.Apply)
	each("restore: %s", c.Restore)
	each("delete %s", c.Lose)
	return lines
}

// Compare returns the changes from a running Plan to a wanted one. A change of what a running
// cluster cannot change (its CNI, CIDRs, control plane) recreates it; any other change
// affects only what differs.
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
	remake("cni", runs.CNI, wanted.CNI)
	remake("loadBalancer.name", runs.LoadBalancer.Name, wanted.LoadBalancer.Name)
	remake("loadBalancer.version", runs.LoadBalancer.Version, wanted.LoadBalancer.Version)
	remake("ingress.name", runs.Ingress.Name, wanted.Ingress.Name)
	remake("ingress.version", runs.Ingress.Version, wanted.Ingress.Version)

	for _, was := range runs.Machines {
		is, kept := wanted.Machine(was.Name)
		switch {
		case reflect.DeepEqual(was, is):
		case was.Role == RoleControlPlane:
			c.Remake = append(c.Remake, fmt.Sprintf("control plane %s changes", was.Name))
		case kept:
			c.Replace = append(c.Replace, was.Name)
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
	apply("networks", runs.Networks, wanted.Networks)
	apply("loadBalancer pools", runs.LoadBalancer, wanted.LoadBalancer)
	apply("ingress service", runs.Ingress, wanted.Ingress)
	apply("outside DNS names", runs.Names, wanted.Names)
	apply("hostAccess", runs.HostAccess, wanted.HostAccess)
	apply("verification", runs.Verify, wanted.Verify)
	if len(c.Remake) > 0 {
		return Changes{Remake: c.Remake}
	}
	return c
}

// data returns settings in the form that is compared.
func data(s *Settings) Opaque {
	if s == nil {
		return "null"
	}
	return s.Data
}
