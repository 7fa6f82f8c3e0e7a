package exercises_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/exercises"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/checks"
)

const ready = "../scenarios/exercises"

func known(t *testing.T) exercises.Known {
	t.Helper()
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	k := exercises.Known{Labs: catalog.Known(), Paths: checks.IDs()}
	k.Labs.Providers = []string{"netns"}
	return k
}

// The ready exercises are valid, an editor with the schema accepts them, and what a learner sees
// before the solution does not name the fault.
func TestReady(t *testing.T) {
	k := known(t)
	text, err := exercises.Schema(k)
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
	names, err := exercises.Names(ready)
	if err != nil || len(names) < 5 {
		t.Fatalf("%d exercises (%v)", len(names), err)
	}
	for _, name := range names {
		ex, err := exercises.Open(ready, name, k)
		if err != nil {
			t.Error(err)
			continue
		}
		data, err := os.ReadFile(filepath.Join(ready, name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var file any
		if err := yaml.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(ex.Hints) < 2 {
			t.Errorf("%s has %d hints", name, len(ex.Hints))
		}
		for _, fault := range ex.Faults {
			if fault.Patch != nil && strings.Contains(ex.Story, fault.Patch.Object) {
				t.Errorf("the story of %s names %s", name, fault.Patch.Object)
			}
		}
	}
	if err := schema.Validate(map[string]any{"apiVersion": labs.APIVersion, "kind": exercises.Kind}); err == nil {
		t.Error("the schema accepts an exercise without a lab")
	}
}
