package labs

import (
	"maps"
	"slices"
)

// Known is what a lab may select: the names, versions and values that providers and
// components offer. The caller passes it, so that labs depends on neither.
type Known struct {
	Providers     []string           // the first is the default
	Sections      map[string]Section // of the lab file, by provider; none for one without settings
	Kubernetes    Choices            // its modes are those of kube-proxy
	CNIs          map[string]Choices // by name
	LoadBalancers map[string]Choices
	Ingresses     map[string]Choices
	Images        []string            // for the user's own workloads
	Services      map[string][]string // of outside hosts, by role; those by FieldRouting and FieldVRRP are of hosts with these fields
}

// Choices are the versions of a component that a lab may select, the default one first.
type Choices []Choice

// Choice is one version.
type Choice struct {
	Version   string
	Preferred bool                // the default of its kind
	Options   map[string][]string // option → its allowed values, the first the default; none: any
	Modes     []string            // kubernetes.proxy, loadBalancer.mode or ingress.service, the first the default
	Host      string              // role of the outside host that runs it; "": it runs in the cluster
}

// Of returns a version, or the default one where the version does not exist.
func (c Choices) Of(version string) Choice {
	for _, choice := range c {
		if choice.Version == version {
			return choice
		}
	}
	return first(c)
}

// with returns the first version that has a mode, or the default one.
func (c Choices) with(mode string) Choice {
	for _, choice := range c {
		if slices.Contains(choice.Modes, mode) {
			return choice
		}
	}
	return first(c)
}

// Versions lists them.
func (c Choices) Versions() []string {
	var all []string
	for _, choice := range c {
		all = append(all, choice.Version)
	}
	return all
}

// names lists the keys of a map in order.
func names[T any](choices map[string]T) []string { return slices.Sorted(maps.Keys(choices)) }

// preferred returns the default name: the one marked as preferred, else the first.
func preferred(choices map[string]Choices) string {
	for _, name := range names(choices) {
		if first(choices[name]).Preferred {
			return name
		}
	}
	return first(names(choices))
}

// modes lists those of all versions of some components, each once.
func modes(choices ...Choices) []string {
	var all []string
	for _, versions := range choices {
		for _, choice := range versions {
			for _, mode := range choice.Modes {
				if !slices.Contains(all, mode) {
					all = append(all, mode)
				}
			}
		}
	}
	return all
}
