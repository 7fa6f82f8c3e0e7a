package components

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"netlab.dev/netlab/labs"
)

// Folders whose names begin with an underscore hold sources of other Go modules.
//
//go:embed all:*/*
var folders embed.FS

// Catalog is every component by name, in all its versions: the default one first, then the
// newest.
type Catalog map[string][]Component

// Load reads netlab's own catalogue.
func Load() (Catalog, error) { return Read(folders) }

// Read reads every folder that has a component.yaml, strictly, and checks that what the
// components name exists.
func Read(root fs.FS) (Catalog, error) {
	entries, err := fs.ReadDir(root, ".")
	if err != nil {
		return nil, err
	}
	catalog := Catalog{}
	var problems []error
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		versions, err := readVersions(root, e.Name())
		if len(versions) > 0 {
			catalog[e.Name()] = versions
		}
		problems = append(problems, err)
	}
	for _, k := range catalog.all() {
		for _, err := range catalog.check(k) {
			problems = append(problems, fmt.Errorf("component %s %s: %w", k.Name, k.Version, err))
		}
	}
	return catalog, errors.Join(problems...)
}

// Names lists the components.
func (c Catalog) Names() []string { return slices.Sorted(maps.Keys(c)) }

// ofKind names the components of a kind.
func (c Catalog) ofKind(kind string) []string {
	return slices.DeleteFunc(c.Names(), func(name string) bool { return c[name][0].Kind != kind })
}

// all is every version of every component, by name.
func (c Catalog) all() []Component {
	var all []Component
	for _, name := range c.Names() {
		all = append(all, c[name]...)
	}
	return all
}

// kubernetes is Kubernetes in all versions, the default one first.
func (c Catalog) kubernetes() []Component {
	for _, name := range c.ofKind(KindKubernetes) {
		return c[name]
	}
	return nil
}

// Sets returns every version of every component, by name, each with the Set of what belongs to
// it: its release of Kubernetes, and the default version of all else.
func (c Catalog) Sets() (all []Component, sets []Set) {
	for _, k := range c.all() {
		if k.Version != ReleaseVersion || len(c.kubernetes()) == 0 {
			all, sets = append(all, k), append(sets, c.around(k, c.releaseOf(k)))
			continue
		}
		for _, release := range c.kubernetes() {
			k := k.of(release)
			all, sets = append(all, k), append(sets, c.around(k, release))
		}
	}
	return all, sets
}

// releaseOf is the Kubernetes that a component belongs to: the default one, unless only
// another one's release has this version of it.
func (c Catalog) releaseOf(k Component) Component {
	if k.Kind == KindKubernetes {
		return k
	}
	var none Component
	for _, release := range c.kubernetes() {
		if none.Name == "" {
			none = release
		}
		if release.Release[k.Name] == k.Version {
			return release
		}
	}
	return none
}

// around is the Set of a component with every other component.
func (c Catalog) around(k, release Component) Set {
	var set Set
	for _, name := range c.Names() {
		switch name {
		case k.Name:
			set.Components = append(set.Components, k)
		case release.Name:
			set.Components = append(set.Components, release)
		default:
			set.Components = append(set.Components, c.released(name, release))
		}
	}
	return set
}

// released is a component at the version that goes with a release of Kubernetes.
func (c Catalog) released(name string, release Component) Component {
	k := c[name][0]
	if found, ok := c.find(name, release.Release[name]); ok {
		k = found
	}
	return k.of(release)
}

// find returns a version of a component; for "" the default one.
func (c Catalog) find(name, version string) (Component, bool) {
	for _, k := range c[name] {
		if version == "" || k.Version == version {
			return k, true
		}
	}
	return Component{}, false
}

// versions lists those of a component, the default one first.
func (c Catalog) versions(name string) []string {
	var all []string
	for _, k := range c[name] {
		all = append(all, k.Version)
	}
	return all
}

// Known is what a lab file may select of the components. The caller adds the providers.
func (c Catalog) Known() labs.Known {
	known := labs.Known{CNIs: map[string]labs.Choices{}, LoadBalancers: map[string]labs.Choices{}, Ingresses: map[string]labs.Choices{}}
	kinds := map[string]map[string]labs.Choices{
		KindCNI: known.CNIs, KindLoadBalancer: known.LoadBalancers, KindIngress: known.Ingresses,
	}
	known.Services = map[string][]string{}
	for _, k := range c.all() {
		if k.Service != nil {
			for _, role := range k.Service.Hosts {
				if !slices.Contains(known.Services[role], k.Name) {
					known.Services[role] = append(known.Services[role], k.Name)
				}
			}
		}
		choice := labs.Choice{Version: k.Version, Preferred: k.Preferred, Options: k.Options, Modes: k.Modes}
		if k.Chosen() && k.Service != nil {
			choice.Host = k.Service.Hosts[0]
		}
		if k.Kind == KindImages && !slices.Contains(known.Images, k.Name) {
			known.Images = append(known.Images, k.Name)
		}
		if k.Kind == KindKubernetes {
			choice.Modes = k.Options[optionProxy]
			known.Kubernetes = append(known.Kubernetes, choice)
		} else if choices := kinds[k.Kind]; choices != nil {
			choices[k.Name] = append(choices[k.Name], choice)
		}
	}
	return known
}

// notShipped is the message for a version that is not available; it lists those that are.
func (c Catalog) notShipped(what, name, version string) string {
	return fmt.Sprintf("%s %s is not available; this release ships %s", what, version, strings.Join(c.versions(name), ", "))
}
