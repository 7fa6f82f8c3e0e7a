package labs_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/labs"
)

// An editor with the schema accepts the labs that Load accepts, and marks a typing error.
func TestSchemaFitsLabs(t *testing.T) {
	text, err := labs.Schema(whole())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := validator.NewCompiler()
	if err := compiler.AddResource("schema.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	reference, err := os.ReadFile("reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file string
		fits bool
	}{
		{string(reference), true},
		{minimal, true},
		{minimal + "hosts: []\n", true},
		{minimal + "cni: {name: cilium, options: {label: 5}}\n", true},
		{minimal + "provder: netns\n", false},
		{minimal + "nodes: [{name: a, role: master}]\n", false},
		{minimal + "networks: [{name: a, cidr: 10.0.0.0}]\n", false},
		{minimal + "networks: [{name: a, cidr: 10.0.0.0/24, mtu: 90}]\n", false},
		{minimal + "cni: {name: flannel, options: {backed: vxlan}}\n", false},
		{"kind: Lab\n", false},
	} {
		var lab any
		if err := yaml.Unmarshal([]byte(c.file), &lab); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(lab); (err == nil) != c.fits {
			t.Errorf("%v for\n%s", err, c.file)
		}
	}
}

func TestSchema(t *testing.T) {
	text, err := labs.Schema(whole())
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	at := func(path ...string) any {
		var v any = s
		for _, key := range path {
			m, ok := v.(map[string]any)
			if !ok || m[key] == nil {
				t.Fatalf("nothing at %v\n%s", path, text)
			}
			v = m[key]
		}
		return v
	}
	for _, c := range []struct {
		got, want any
	}{
		{at("properties", "kind", "const"), "Lab"},
		{at("required"), []any{"apiVersion", "kind", "metadata"}},
		{at("additionalProperties"), false},
		{at("$defs", "Metadata", "required"), []any{"name"}},
		{at("$defs", "Network", "required"), []any{"name", "cidr"}},
		{at("$defs", "Network", "properties", "cidr", "type"), "string"},
		{at("$defs", "Network", "properties", "mtu", "maximum"), 9000.0},
		{at("$defs", "NodeGroup", "required"), []any{"name", "role"}},
		{at("$defs", "CNI", "properties", "name", "enum"), []any{"cilium", "flannel"}},
		{at("$defs", "CNI", "properties", "options", "properties", "backend", "enum"), []any{"vxlan", "host-gw"}},
		{at("$defs", "LoadBalancer", "properties", "name", "enum"), []any{"cloud", "metallb", "none"}},
		{at("$defs", "Throughput", "properties", "duration", "type"), "string"},
		{at("$defs", "Throughput", "properties", "min", "type"), "string"},
		{at("$defs", "Throughput", "properties", "repeats", "maximum"), 100.0},
		{at("$defs", "Network", "description"), "Network is one broadcast domain: a Linux bridge."},
		{at("$defs", "Kubernetes", "properties", "podCIDR", "description"), "each Node gets a /24 of it"},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}
