package pulumi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/labs"
)

// TestSchema: every field of a lab file is a property with its description, every reference leads
// to a type, and the kubeconfig is a secret. Pulumi's own package checks the rest (pulumi/codegen).
func TestSchema(t *testing.T) {
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	text, err := Schema(engine.Engine{Catalog: catalog, Providers: engine.Providers()}.Known(), "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	var s packageSpec
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	lab := s.Resources[string(labType)]
	for i := range reflect.TypeFor[labs.Lab]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[labs.Lab]().Field(i).Tag.Get("json"), ",")
		if constant := name == "-" || name == "apiVersion" || name == "kind"; (lab.Inputs[name] == nil) != constant {
			t.Errorf("field %s is property %v", name, lab.Inputs[name])
		}
	}
	if p := lab.Inputs["libvirt"]; p == nil || s.Types["netlab:index:Libvirt"].Properties["cpus"] == nil {
		t.Errorf("the section of a provider is %v", p)
	}
	if d := s.Types["netlab:index:Kubernetes"].Properties["podCIDR"].Description; d != "each Node gets a /24 of it" {
		t.Errorf("podCIDR: %q", d)
	}
	if !lab.Properties[kubeconfigProperty].Secret || !s.Functions[string(getLab)].Outputs.Properties[kubeconfigProperty].Secret {
		t.Error("the kubeconfig is no secret")
	}
	for word := range strings.SplitSeq(string(text), `"#/types/`) {
		if name, _, found := strings.Cut(word, `"`); found && strings.HasPrefix(name, "netlab:") && s.Types[name].Type == "" {
			t.Errorf("type %s is nowhere", name)
		}
	}
}
