package pulumi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"netlab.dev/netlab/labs"
)

// The part of Pulumi's package schema that is used here
// (https://www.pulumi.com/docs/iac/guides/building-extending/packages/schema/).
type (
	packageSpec struct {
		Name        string                  `json:"name"`
		DisplayName string                  `json:"displayName"`
		Version     string                  `json:"version"`
		Description string                  `json:"description"`
		Keywords    []string                `json:"keywords"`
		License     string                  `json:"license"`
		Homepage    string                  `json:"homepage"`
		Meta        map[string]string       `json:"meta"`
		Language    map[string]any          `json:"language"`
		Types       map[string]objectSpec   `json:"types"`
		Provider    objectSpec              `json:"provider"`
		Resources   map[string]resourceSpec `json:"resources"`
		Functions   map[string]functionSpec `json:"functions"`
	}
	objectSpec struct {
		Description string             `json:"description,omitempty"`
		Type        string             `json:"type,omitempty"`
		Properties  map[string]*typing `json:"properties,omitempty"`
		Required    []string           `json:"required,omitempty"`
	}
	resourceSpec struct {
		objectSpec
		Inputs         map[string]*typing `json:"inputProperties"`
		RequiredInputs []string           `json:"requiredInputs,omitempty"`
	}
	functionSpec struct {
		Description string      `json:"description"`
		Inputs      *objectSpec `json:"inputs"`
		Outputs     *objectSpec `json:"outputs"`
	}
	// typing is the type of a property.
	typing struct {
		Type        string  `json:"type,omitempty"`
		Ref         string  `json:"$ref,omitempty"`
		Items       *typing `json:"items,omitempty"`
		Values      *typing `json:"additionalProperties,omitempty"`
		Description string  `json:"description,omitempty"`
		Secret      bool    `json:"secret,omitempty"`
	}
)

func text(description string) *typing  { return &typing{Type: "string", Description: description} }
func flag(description string) *typing  { return &typing{Type: "boolean", Description: description} }
func count(description string) *typing { return &typing{Type: "integer", Description: description} }
func number(description string) *typing {
	return &typing{Type: "number", Description: description}
}
func list(of *typing, description string) *typing {
	return &typing{Type: "array", Items: of, Description: description}
}
func anything(description string) *typing {
	return &typing{Ref: "pulumi.json#/Any", Description: description}
}
func typed(name, description string) *typing {
	return &typing{Ref: "#/types/netlab:index:" + name, Description: description}
}

// Schema is the package's schema: Lab's properties are those of the lab file's JSON schema.
func Schema(known labs.Known, version string) ([]byte, error) {
	types, inputs, err := labTypes(known)
	if err != nil {
		return nil, err
	}
	maps.Copy(types, outputTypes())
	inputs[fileProperty] = text("path of a lab file, in place of all other properties")
	state := labOutputs()
	required := slices.Sorted(maps.Keys(state))
	lab := resourceSpec{objectSpec: objectSpec{Properties: union(inputs, state), Required: required,
		Description: "A Kubernetes cluster with the networks and hosts around it, on this machine. Its properties are the fields of a lab file, or `file` names one."}, Inputs: inputs}
	return json.MarshalIndent(packageSpec{
		Name: "netlab", DisplayName: "netlab", Version: version, License: "Apache-2.0", Homepage: "https://netlab.dev",
		Description: "Real Kubernetes clusters and their networks on one machine, every communication path verified.",
		Keywords:    []string{"kubernetes", "networking", "category/infrastructure"},
		Meta:        map[string]string{"moduleFormat": "(.*)"},
		Language: map[string]any{
			"go":     map[string]any{"importBasePath": "netlab.dev/pulumi-netlab/sdk/go/netlab", "generateResourceContainerTypes": true, "respectSchemaVersion": true},
			"nodejs": map[string]any{"packageName": "@netlab/pulumi", "respectSchemaVersion": true},
			"python": map[string]any{"packageName": "pulumi_netlab", "pyproject": map[string]any{"enabled": true}, "respectSchemaVersion": true},
		},
		Types:    types,
		Provider: objectSpec{Description: "The provider is configured by netlab's environment variables (NETLAB_STATE_DIR, NETLAB_CACHE_DIR, …)."},
		Resources: map[string]resourceSpec{
			string(labType): lab,
			string(verificationType): made("Verifies every communication path of a lab, when it is created and when one of its properties changes. The update fails if a path is not as expected.",
				verificationInputs(), map[string]*typing{
					summaryProperty: typed("Summary", "how many paths have which outcome"),
					resultsProperty: list(typed("PathResult", ""), "every path"),
				}),
			string(snapshotType): made("The disks of all Nodes of a lab at one moment, and their memory with provider libvirt; provider kind has none. It stays until its lab is removed.",
				snapshotInputs(), map[string]*typing{
					createdProperty: text("when it was saved (RFC 3339)"),
					bytesProperty:   count("size of its files"),
				}),
		},
		Functions: map[string]functionSpec{string(getLab): {
			Description: "Finds a lab of this machine, whoever made it.",
			Inputs:      &objectSpec{Properties: getLabInputs().properties, Required: getLabInputs().required},
			Outputs:     &objectSpec{Properties: state, Required: required},
		}},
	}, "", "  ")
}

// form is the properties that may and must be given.
type form struct {
	properties map[string]*typing
	required   []string
}

func verificationInputs() form {
	return form{map[string]*typing{
		"lab":        text("name of the lab: output name of a Lab"),
		"triggers":   list(anything(""), "values that, when they change, have the paths verified again, such as output plan of the Lab"),
		"throughput": list(text(""), "routes to measure the throughput of"),
		"latency":    list(text(""), "routes to measure the latency of"),
		"thorough":   flag("also verify the paths that take up to minutes"),
		"allPairs":   flag("verify cross-Node paths between all pairs of Nodes: a lab of more than 16 Nodes takes a sample"),
	}, []string{"lab"}}
}

func snapshotInputs() form {
	return form{map[string]*typing{
		"lab":  text("name of the lab: output name of a Lab"),
		"name": text("name of the snapshot: at most 63 letters, digits, -, _ and ."),
	}, []string{"lab", "name"}}
}

func getLabInputs() form {
	return form{map[string]*typing{nameProperty: text("name of the lab")}, []string{nameProperty}}
}

// labOutputs are what a Lab has beside its inputs.
func labOutputs() map[string]*typing {
	kubeconfig := text("kubeconfig of the cluster, for this machine")
	kubeconfig.Secret = true
	return map[string]*typing{
		nameProperty:       text("name of the lab"),
		kubeconfigProperty: kubeconfig,
		nodesProperty:      list(typed("Machine", ""), "Nodes with their addresses"),
		hostsProperty:      list(typed("Machine", ""), "hosts outside the cluster with their addresses"),
		vipsProperty:       list(typed("VIP", ""), "Services of type LoadBalancer with their addresses"),
		planProperty:       anything("the resolved plan, as `netlab plan -o json` prints it"),
		problemsProperty:   list(text(""), "how the lab differs from its file; the next update restores that"),
	}
}

func outputTypes() map[string]objectSpec {
	object := func(description string, optional []string, properties map[string]*typing) objectSpec {
		required := slices.DeleteFunc(slices.Sorted(maps.Keys(properties)), func(name string) bool { return slices.Contains(optional, name) })
		return objectSpec{Type: "object", Description: description, Properties: properties, Required: required}
	}
	return map[string]objectSpec{
		"netlab:index:Machine": object("A Node, or a host outside the cluster.", nil, map[string]*typing{
			"name": text(""), "role": text(""), "address": text("the first; a Node's InternalIP"), "addresses": list(text(""), "of all NICs"),
		}),
		"netlab:index:VIP": object("A Service of type LoadBalancer.", nil, map[string]*typing{
			"service": text("NAMESPACE/NAME"), "addresses": list(text(""), ""),
		}),
		"netlab:index:Summary": object("How many paths have which outcome.", nil, map[string]*typing{
			"pass": count(""), "fail": count(""), "skip": count(""), "broken": count("the probe could not run"),
		}),
		"netlab:index:PathResult": object("One communication path.", []string{"reason", "throughput", "latency"}, map[string]*typing{
			"id": text(""), "from": text(""), "to": text(""), "protocol": text(""), "expected": text(""), "outcome": text("pass, fail, skip or broken"), "reason": text(""),
			"throughput": number("median that was measured, in bit/s"), "latency": number("median that was measured, in µs"),
		}),
	}
}

// made is a resource with these inputs and further outputs.
func made(description string, f form, outputs map[string]*typing) resourceSpec {
	required := append(slices.Clone(f.required), slices.Sorted(maps.Keys(outputs))...)
	return resourceSpec{objectSpec: objectSpec{Description: description, Properties: union(f.properties, outputs), Required: required},
		Inputs: f.properties, RequiredInputs: f.required}
}

func union(a, b map[string]*typing) map[string]*typing {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// formed are the problems of the form of properties: names and types.
func (v values) formed(f form) (all []plugin.CheckFailure) {
	add := func(property, reason string) {
		all = append(all, plugin.CheckFailure{Property: resource.PropertyKey(property), Reason: reason})
	}
	known := slices.Sorted(maps.Keys(f.properties))
	for _, name := range slices.Sorted(maps.Keys(v.tree)) {
		t, ok := f.properties[name]
		switch {
		case !ok:
			add(name, "unknown property; "+labs.DidYouMean(name, known))
		case !t.fits(v.tree[name]):
			add(name, "expected "+t.Type)
		}
	}
	for _, name := range f.required {
		if _, given := v.tree[name]; !given && !among(name, v.unknown) {
			add(name, "is missing")
		}
	}
	return all
}

// fits reports whether a value has a type. Null takes the place of a value that is not known yet.
func (t *typing) fits(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return t.Type == "string" || t.Ref != ""
	case bool:
		return t.Type == "boolean" || t.Ref != ""
	case []any:
		return t.Ref != "" || t.Type == "array" && !slices.ContainsFunc(value, func(item any) bool { return !t.Items.fits(item) })
	}
	return t.Ref != ""
}

// jsonSchema is the part of JSON schema that the schema of lab files has.
type jsonSchema struct {
	Type        string                 `json:"type"`
	Ref         string                 `json:"$ref"`
	Description string                 `json:"description"`
	Enum        []any                  `json:"enum"`
	Properties  map[string]*jsonSchema `json:"properties"`
	Required    []string               `json:"required"`
	Items       *jsonSchema            `json:"items"`
	Definitions map[string]*jsonSchema `json:"$defs"`
	OneOf       []*jsonSchema          `json:"oneOf"` // a text, or something else that can be written as one
	// Values is a schema, or false for an object whose properties are all listed.
	Values json.RawMessage `json:"additionalProperties"`
}

// labTypes are the types of a lab file, and the properties of a Lab. Which of them are required is left
// to Check: with file none is.
func labTypes(known labs.Known) (types map[string]objectSpec, inputs map[string]*typing, err error) {
	data, err := labs.Schema(known)
	if err != nil {
		return nil, nil, err
	}
	var file jsonSchema
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, nil, fmt.Errorf("the JSON schema of lab files: %w", err)
	}
	types = map[string]objectSpec{}
	for name, definition := range file.Definitions {
		for _, choice := range definition.OneOf { // an object, or its path alone
			if choice.Type == "object" {
				choice.Description = definition.Description
				definition = choice
			}
		}
		object := objectSpec{Type: "object", Description: definition.Description, Required: definition.Required, Properties: map[string]*typing{}}
		for field, s := range definition.Properties {
			object.Properties[field] = s.typing()
		}
		types["netlab:index:"+name] = object
	}
	inputs = map[string]*typing{}
	for field, s := range file.Properties {
		if field != "apiVersion" && field != "kind" { // they are the same in every lab file
			inputs[field] = s.typing()
		}
	}
	return types, inputs, nil
}

// typing is the type of a field of a lab file. Options of components are objects in which each is text.
func (s *jsonSchema) typing() *typing {
	description := s.Description
	if len(s.OneOf) > 0 {
		s = s.OneOf[0]
	}
	if len(s.Enum) > 0 {
		var values []string
		for _, value := range s.Enum {
			values = append(values, fmt.Sprint(value))
		}
		description = strings.Trim(description+"; one of "+strings.Join(values, ", "), "; ")
	}
	t := &typing{Type: s.Type, Description: description}
	switch {
	case s.Ref != "":
		t.Type, t.Ref = "", "#/types/netlab:index:"+strings.TrimPrefix(s.Ref, "#/$defs/")
	case s.Type == "array":
		t.Items = s.Items.typing()
		// Only properties have descriptions.
		t.Description, t.Items.Description = strings.Trim(t.Description+"; "+t.Items.Description, "; "), ""
	case s.Type == "object":
		t.Values = &typing{Type: "string"}
	}
	return t
}
