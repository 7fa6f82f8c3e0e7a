package topology

import (
	"cmp"
	"fmt"
	"reflect"
)

// Changes is what turns a lab of one Plan into a lab of another.
type Changes struct {
	Remake  []string `json:"remake,omitempty"`  // why the cluster has to be made anew; none: it can stay
	Add     []string `json:"add,omitempty"`     // machines that are new
	Remove  []string `json:"remove,omitempty"`  // machines that go
	Replace []string `json:"replace,omitempty"` // machines that are made anew
	Apply   []string `json:"apply,omitempty"`   // what is configured anew in what stays
}

// None reports whether there is nothing to do.
func (c Changes) None() bool { return reflect.DeepEqual(c, Changes{}) }

// Lines writes the changes one a line, for people.
func (c Changes) Lines() []string {
	var lines []string
	each := func(format string, items []string) {
		for _, i := range items {
			lines = append(lines, fmt.Sprintf(format, i))
		}
	}
	each("make the cluster anew: %s", c.Remake)
	each("remove machine %s", c.Remove)
	each("make machine %s anew", c.Replace)
	each("add machine %s", c.Add)
	each("configure %s", c.Apply)
	return lines
}

// Compare gives the changes from a Plan that runs to a Plan that is wanted. What a
// cluster cannot change while it runs (its CNI, its CIDRs, its control plane) makes it
// anew; everything else touches only what differs.
func Compare(runs, wanted Plan) Changes {
	var c Changes
	remake := func(what string, was, is any) {
		if !reflect.DeepEqual(was, is) {
			c.Remake = append(c.Remake, fmt.Sprintf("%s changes from %v to %v", what, was, is))
		}
	}
	// Labs made before these had versions have those that they are to have.
	runs.LoadBalancer.Version = cmp.Or(runs.LoadBalancer.Version, wanted.LoadBalancer.Version)
	runs.Ingress.Version = cmp.Or(runs.Ingress.Version, wanted.Ingress.Version)
	remake("provider", runs.Provider, wanted.Provider)
	remake("settings of "+wanted.Provider, data(runs.Settings), data(wanted.Settings))
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
		case is.Role == RoleControlPlane: // etcd's members are the same for good
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

// data gives settings as they are compared.
func data(s *Settings) string {
	if s == nil {
		return "none"
	}
	return string(s.Data)
}
