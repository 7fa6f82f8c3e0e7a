package labs

import (
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/internal/hint"
)

// Section is a provider's own part of the lab file: a field at the top level, named after the
// provider.
type Section struct {
	New    func() Settings // empty settings, to be decoded into
	Source string          // the Go file that declares their types: its comments are descriptions of the JSON schema
}

// Settings are the fields of a section: a pointer to a struct with json tags, and with
// jsonschema tags for bounds. The sections of all providers are decoded and validated,
// whichever provider the lab has.
type Settings interface {
	// Fill sets the fields that the file leaves out.
	Fill()
	// Validate returns the problems, their fields relative to the section (cpus). reported
	// reports whether a field, or one below it, has a problem already.
	Validate(reported func(field string) bool) Problems
	// Traits returns what the settings mean for all Nodes.
	Traits() Traits
	// Place reads the hypervisor of a Node group, "" for one without; an error has a Hint. It
	// is called only where Traits has Remote.
	Place(hypervisor string) (Place, error)
}

// Traits describe how a provider runs Nodes, for stages that must not depend on which provider
// it is. The zero value is that of a provider without a section.
type Traits struct {
	OwnKernel    bool   // Nodes do not share this machine's kernel
	Remote       bool   // a Node group may set hypervisor
	Summary      string // of the settings, for messages, such as "machines of 2 CPUs"
	Image        Image  // that Nodes boot; the zero value for none
	Largest      Size   // that the disk in Image may be
	LargestField string // of the section, that sets Largest
}

// Place is where a Node runs; the zero value is this machine.
type Place struct {
	Host string // the other machine
	URI  string // canonical, as the provider reads it; one for each Host
}

// Traits are those of the lab's provider.
func (l Lab) Traits() Traits {
	if s := l.Sections[l.Provider]; s != nil {
		return s.Traits()
	}
	return Traits{}
}

// sections returns empty settings for each section.
func (k Known) sections() map[string]Settings {
	out := map[string]Settings{}
	for provider, section := range k.Sections {
		out[provider] = section.New()
	}
	return out
}

// sections adds the problems that the providers find.
func (v *validator) sections() {
	for _, provider := range names(v.lab.Sections) {
		reported := func(field string) bool { return v.reported(join(provider, field)) }
		for _, p := range v.lab.Sections[provider].Validate(reported) {
			p.Field = join(provider, p.Field)
			v.problems = append(v.problems, p)
		}
	}
}

// placed checks where a group's Nodes run, as the lab's provider reads it, or the first that
// runs Nodes on other machines.
func (v *validator) placed(at string, g NodeGroup) {
	if g.Hypervisor == "" {
		return
	}
	able := slices.DeleteFunc(names(v.lab.Sections), func(p string) bool { return !v.lab.Sections[p].Traits().Remote })
	reader := v.lab.Sections[v.lab.Provider]
	if !slices.Contains(able, v.lab.Provider) {
		if !v.reported("provider") {
			todo := "remove hypervisor"
			if len(able) > 0 {
				todo = "set provider: " + strings.Join(able, " or ") + ", or " + todo
			}
			defer v.add(at+".hypervisor", todo, "provider %s runs Nodes on this machine only", v.lab.Provider)
		}
		if reader = v.lab.Sections[first(able)]; reader == nil {
			return
		}
	}
	place, err := reader.Place(g.Hypervisor)
	if err != nil {
		v.add(at+".hypervisor", strings.Join(hint.Of(err), ", "), "%s", err)
		return
	}
	for i, other := range v.lab.Nodes {
		if at == fmt.Sprintf("nodes[%d]", i) {
			break
		}
		if other.Hypervisor == "" {
			continue
		}
		if o, err := reader.Place(other.Hypervisor); err == nil && o.Host == place.Host && o != place {
			v.add(at+".hypervisor", "use the same URI for both", "nodes[%d] has another URI for %s: %s", i, o.Host, o.URI)
			break
		}
	}
}
