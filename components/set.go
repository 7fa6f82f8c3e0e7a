package components

import (
	"fmt"
	"maps"
	"strings"

	"netlab.dev/netlab/topology"
)

// Set is what a plan resolves to: one version of each component that the lab has, in the
// order of installation. It is made once per command and passed to every later stage.
type Set struct {
	Plan       topology.Plan
	Components []Component
	Lock       *Lock // what the software has to be; nil: any that the recipes give
}

// Find returns the component of a name.
func (s Set) Find(name string) (Component, bool) {
	for _, k := range s.Components {
		if k.Name == name {
			return k, true
		}
	}
	return Component{}, false
}

// Of returns the component of a kind that a lab has one of.
func (s Set) Of(kind string) (Component, bool) {
	for _, k := range s.Components {
		if k.Kind == kind {
			return k, true
		}
	}
	return Component{}, false
}

// Output finds the build that makes "component/output".
func (s Set) Output(ref string) (Component, Build, error) {
	name, output, _ := strings.Cut(ref, "/")
	k, _ := s.Find(name)
	for _, b := range k.Builds {
		if b.Packages[output] != "" || b.Links[output] != "" {
			return k, b, nil
		}
	}
	return Component{}, Build{}, fmt.Errorf("no build makes %s", ref)
}

// Copied finds the build that keeps "component/name", and the path below its directory of
// copies.
func (s Set) Copied(ref string) (Component, Build, string, error) {
	name, rest, _ := strings.Cut(ref, "/")
	copied, _, _ := strings.Cut(rest, "/")
	k, _ := s.Find(name)
	for _, b := range k.Builds {
		if b.Copies[copied] != "" {
			return k, b, rest, nil
		}
	}
	return Component{}, Build{}, "", fmt.Errorf("no build keeps %s", ref)
}

// Layer finds "component/layer".
func (s Set) Layer(ref string) (Component, Layer, error) {
	name, layer, _ := strings.Cut(ref, "/")
	k, _ := s.Find(name)
	for _, l := range k.Layers {
		if l.Name == layer {
			return k, l, nil
		}
	}
	return Component{}, Layer{}, fmt.Errorf("no layer %s", ref)
}

// Selected is one component of a Set as `netlab plan` prints it.
type Selected struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	Version string            `json:"version"`
	Options map[string]string `json:"options,omitempty"`
	Images  []string          `json:"images,omitempty"` // references; a tag "self" follows from the netlab executable
	Lacks   []string          `json:"lacks,omitempty"`  // what our build does not do that upstream's image does
	Notices []string          `json:"notices,omitempty"`
}

// Selected lists the components of the set.
func (s Set) Selected() []Selected {
	var all []Selected
	for _, k := range s.Components {
		one := Selected{Name: k.Name, Kind: k.Kind, Version: k.Version, Lacks: k.Lacks, Notices: k.notices(s.Plan)}
		if options := k.options(s.Plan); len(options) > 0 {
			one.Options = options
		}
		for _, i := range k.Images {
			if i.Over == nil {
				one.Images = append(one.Images, k.Ref(i))
			}
		}
		all = append(all, one)
	}
	return all
}

// options are a component's own options, each with the plan's value or its default.
func (k Component) options(p topology.Plan) map[string]string {
	options := map[string]string{}
	for name, allowed := range k.Options {
		options[name] = allowed[0]
	}
	switch k.Kind {
	case KindCNI:
		maps.Copy(options, p.CNI.Options)
	case KindKubernetes:
		options[optionProxy] = p.Kubernetes.Proxy
	}
	return options
}

// Notices are printed at every `up`.
func (s Set) Notices() []string {
	var all []string
	for _, k := range s.Components {
		all = append(all, k.notices(s.Plan)...)
	}
	return all
}

// Needs lists what the set requires of the Nodes' kernel, without what only optional images
// require.
func (s Set) Needs() []Need {
	var needs []Need
	for _, k := range s.Components {
		options := k.view(s.Plan, Artifacts{}).Options
		for _, n := range k.NeedsOf("") {
			if heldBy(n.When, options) {
				needs = append(needs, n)
			}
		}
	}
	return needs
}
