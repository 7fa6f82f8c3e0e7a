package labs

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

// The source of the types: their comments are the descriptions of the schema.
//
//go:embed lab.go
var source string

// Schema returns the JSON Schema (draft 2020-12) of a lab file, for completion and checks
// in editors. It covers structure and names; Load validates more.
func Schema(known Known) ([]byte, error) {
	var sources []string
	for _, provider := range names(known.Sections) {
		sources = append(sources, known.Sections[provider].Source)
	}
	r, err := Reflector(sources...)
	if err != nil {
		return nil, err
	}
	s := r.Reflect(Lab{})
	addSections(r, s, known)
	s.ID = "https://netlab.dev/schema/v1alpha1.json"
	s.Title = "netlab lab file, " + APIVersion
	s.Required = []string{"apiVersion", "kind", "metadata"} // hosts has no omitempty, but it has a default
	s.Definitions["Network"].Required = []string{"name", "cidr"}
	s.Definitions["Routing"].Required = nil // as that of hosts
	s.Definitions["Impairment"].Required = nil

	in := func(definition, property string) *jsonschema.Schema {
		p, ok := s.Definitions[definition].Properties.Get(property)
		if !ok {
			panic("labs: no " + property + " in the schema of " + definition) // a bug in lab.go that every test detects
		}
		return p
	}
	top := func(property string) *jsonschema.Schema { p, _ := s.Properties.Get(property); return p }
	top("apiVersion").Const = APIVersion
	top("kind").Const = Kind
	enum(top("provider"), known.Providers)
	enum(top("images").Items, known.Images)
	enum(in("Kubernetes", "version"), known.Kubernetes.Versions())
	enum(in("Kubernetes", "proxy"), modes(known.Kubernetes))
	enum(in("NodeGroup", "role"), []string{RoleControlPlane, RoleWorker})
	enum(in("Host", "role"), []string{RoleRouter, RoleClient, RoleInternet, RoleAPILB, RoleLoadBalancer})
	enum(in("CNI", "name"), names(known.CNIs))
	offerOptions(in("CNI", "options"), known.CNIs)
	enum(in("LoadBalancer", "name"), append(names(known.LoadBalancers), None))
	enum(in("LoadBalancer", "mode"), modes(slices.Collect(maps.Values(known.LoadBalancers))...))
	enum(in("Ingress", "name"), append(names(known.Ingresses), None))
	enum(in("Ingress", "service"), modes(slices.Collect(maps.Values(known.Ingresses))...))

	for _, name := range []*jsonschema.Schema{in("Metadata", "name"), in("Network", "name"), in("NodeGroup", "name"), in("Host", "name")} {
		name.Pattern = dnsLabel.String()
	}
	bound(in("Network", "mtu"), minMTU, maxMTU)
	bound(in("Network", "vlan"), 1, maxVLAN)
	bound(in("NodeGroup", "count"), 1, maxCount)
	bound(in("Throughput", "repeats"), 1, maxRepeats)
	bound(in("Routing", "asn"), 1, maxASN)
	bound(in("BGP", "asn"), 1, maxASN)
	bound(in("NodePorts", "http"), minNodePort, maxNodePort)
	bound(in("NodePorts", "https"), minNodePort, maxNodePort)
	bound(in("BGP", "aggregationLength"), minAggregation, maxAggregation)
	enum(in("Routing", "protocols").Items, protocols())
	PathSchema(s)
	return json.MarshalIndent(s, "", "  ")
}

// PathSchema adds to a schema which values a Path takes.
func PathSchema(s *jsonschema.Schema) {
	properties := s.Definitions["Path"].Properties
	protocol, _ := properties.Get("protocol")
	enum(protocol, pathProtocols())
	from, _ := properties.Get("source")
	enum(from, []string{SourcePreserved, SourceNode})
}

// Reflector makes JSON Schemas of the types of this package, and of those that other Go files
// declare: the comments of the types in sources are the descriptions.
func Reflector(sources ...string) (*jsonschema.Reflector, error) {
	comments, err := comments(append([]string{source}, sources...))
	if err != nil {
		return nil, err
	}
	return &jsonschema.Reflector{
		Anonymous:      true,
		ExpandedStruct: true,
		Mapper:         textSchema,
		LookupComment: func(t reflect.Type, field string) string {
			return comments[strings.Trim(t.Name()+"."+field, ".")]
		},
	}, nil
}

// addSections adds the settings of providers, next to the choice of one.
func addSections(r *jsonschema.Reflector, s *jsonschema.Schema, known Known) {
	r.ExpandedStruct = false
	for _, provider := range slices.Backward(names(known.Sections)) {
		section := r.Reflect(known.Sections[provider].New())
		maps.Copy(s.Definitions, section.Definitions)
		s.Properties.Set(provider, &jsonschema.Schema{Ref: section.Ref, Description: "settings of provider " + provider + "; ignored by others"})
		if err := s.Properties.MoveAfter(provider, "provider"); err != nil {
			panic("labs: " + err.Error()) // a bug in lab.go that every test detects
		}
	}
}

// textSchema returns the schema of types that are written as a string.
func textSchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[netip.Prefix]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$`, Examples: []any{"172.30.0.0/24"}}
	case reflect.TypeFor[netip.Addr]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{1,3}(\.[0-9]{1,3}){3}$`, Examples: []any{"172.30.0.1"}}
	case reflect.TypeFor[Name]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[Duration]():
		return &jsonschema.Schema{Type: "string", Examples: []any{"3s", "1m30s"}}
	case reflect.TypeFor[Rate]():
		return &jsonschema.Schema{Type: "string", Pattern: ratePattern.String(), Examples: []any{"500Mbit", "1.5Gbit"}}
	case reflect.TypeFor[Expectation]():
		return &jsonschema.Schema{Examples: []any{Reachable, Denied, 403, "NXDOMAIN"}, OneOf: []*jsonschema.Schema{
			{Type: "string", Enum: anyOf(expectations())}, {Type: "integer", Minimum: "100", Maximum: "599"}}}
	case reflect.TypeFor[Percent]():
		return &jsonschema.Schema{Type: "string", Pattern: percentPattern.String(), Examples: []any{"1%", "0.5%"}}
	case reflect.TypeFor[Size]():
		return &jsonschema.Schema{Type: "string", Pattern: sizePattern.String(), Examples: []any{"1536MiB", "8GiB"}}
	}
	return nil
}

func enum(s *jsonschema.Schema, values []string) { s.Enum = append(s.Enum, anyOf(values)...) }

func anyOf(values []string) (all []any) {
	for _, v := range values {
		all = append(all, v)
	}
	return all
}

// offerOptions lists the options of all CNIs; Load checks that an option belongs to the CNI.
func offerOptions(s *jsonschema.Schema, cnis map[string]Choices) {
	s.AdditionalProperties = jsonschema.FalseSchema
	s.Properties = jsonschema.NewProperties()
	for _, cni := range names(cnis) {
		for _, choice := range cnis[cni] {
			for _, option := range slices.Sorted(maps.Keys(choice.Options)) {
				offerOption(s, cni, option, choice.Options[option])
			}
		}
	}
}

func offerOption(s *jsonschema.Schema, cni, option string, values []string) {
	o, shared := s.Properties.Get(option)
	switch {
	case !shared:
		o = &jsonschema.Schema{Description: cni}
		s.Properties.Set(option, o)
	case !slices.Contains(strings.Split(o.Description, ", "), cni):
		o.Description += ", " + cni
	}
	for _, value := range values {
		if !slices.Contains(o.Enum, any(value)) {
			o.Enum = append(o.Enum, value)
		}
	}
}

func bound(s *jsonschema.Schema, low, high int) {
	s.Minimum, s.Maximum = json.Number(fmt.Sprint(low)), json.Number(fmt.Sprint(high))
}

// comments reads the comments of types ("Lab") and of their fields ("Lab.Provider").
func comments(sources []string) (map[string]string, error) {
	out := map[string]string{}
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("comments of the lab types: %w", err)
		}
		readComments(file, out)
	}
	return out, nil
}

func readComments(file *ast.File, out map[string]string) {
	ast.Inspect(file, func(n ast.Node) bool {
		decl, ok := n.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			return true
		}
		for _, spec := range decl.Specs {
			typ := spec.(*ast.TypeSpec)
			out[typ.Name.Name] = oneLine(decl.Doc)
			fields, ok := typ.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					out[typ.Name.Name+"."+name.Name] = oneLine(f.Comment)
				}
			}
		}
		return false
	})
}

func oneLine(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
