package labs

import (
	"fmt"
	"slices"

	"github.com/invopop/jsonschema"
)

// JSONSchemaExtend makes the schema of a Manifest that of its path too.
func (Manifest) JSONSchemaExtend(s *jsonschema.Schema) {
	mapping := *s
	*s = jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, &mapping}, Description: s.Description}
	mapping.Description = ""
}

// String names a manifest as a lab file does.
func (m Manifest) String() string {
	if m.Chart != "" {
		return m.Chart
	}
	return m.Path
}

// images checks which images the lab holds.
func (v *validator) images() {
	for i, name := range v.lab.Images {
		at := fmt.Sprintf("images[%d]", i)
		if v.reported(at) {
			continue
		}
		if v.oneOf(at, "image that netlab makes", name, v.known.Images) && slices.Contains(v.lab.Images[:i], name) {
			v.add(at, "remove one", "%s is listed twice", name)
		}
	}
}

// manifests checks the user's manifests without reading them.
func (v *validator) manifests() {
	seen := map[Manifest]int{}
	for i, m := range v.lab.Manifests {
		at := fmt.Sprintf("manifests[%d]", i)
		if v.reported(at) {
			continue
		}
		if first, again := seen[m]; again {
			v.add(at, "remove one", "is the same as manifests[%d]", first)
			continue
		}
		seen[m] = i
		switch {
		case m.Path == "" && m.Chart == "":
			v.add(at, "for example shop.yaml, or {chart: charts/shop}", "names neither a path nor a chart")
		case m.Path != "" && m.Chart != "":
			v.add(at+".chart", "list them one by one", "is set together with a path")
		}
		for _, f := range []struct{ name, value string }{{"values", m.Values}, {"release", m.Release}} {
			if f.value != "" && m.Chart == "" {
				v.add(at+"."+f.name, "set the chart, or remove it", "requires a chart")
			}
		}
		if m.Release != "" {
			v.label(at+".release", m.Release)
		}
		v.label(at+".namespace", m.Namespace)
	}
}
