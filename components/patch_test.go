package components

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

const upstreamManifest = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: kube-system}
spec:
  template:
    spec:
      initContainers: [{name: prepare, image: a}, {name: keep, image: b}]
      containers: [{name: agent, image: c, env: [{name: MODE, value: Always}, {name: OTHER, value: stays}]}]
`

func TestPatchMergesByName(t *testing.T) {
	k := Component{Name: "k", files: fstest.MapFS{"patches.yaml": {Data: []byte(`apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: kube-system}
spec:
  template:
    spec:
      initContainers: [{name: prepare, $patch: delete}]
      containers: [{name: agent, env: [{name: MODE, value: "{{ .Plan.Lab }}"}]}]
`)}}}
	objects, err := decode([]byte(upstreamManifest))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.patch(objects, View{Plan: topology.Plan{Lab: labs.MustName("never")}}); err != nil {
		t.Fatal(err)
	}
	text, err := objects[0].MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"name":"MODE","value":"never"}`, `{"name":"OTHER","value":"stays"}`, `"name":"keep"`, `"image":"c"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(string(text), "prepare") {
		t.Errorf("what is deleted is still in %s", text)
	}
}

func TestPatchOfNothing(t *testing.T) {
	k := Component{Name: "k", files: fstest.MapFS{"patches.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n")}}}
	if err := k.patch(nil, View{}); err == nil || !strings.Contains(err.Error(), "ConfigMap gone: upstream has no such object") {
		t.Errorf("got %v", err)
	}
}

// A build with edits is made from a copy of its module; a module that is replaced by a
// directory gets a go.mod.
func TestBuildFromEditedModule(t *testing.T) {
	module, source := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(module, "go.mod"):    "module example.test/m\n",
		filepath.Join(module, "a/a.go"):    "package a\n\nconst A = old\n",
		filepath.Join(source, "stub/s.go"): "package s\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	m := made{Component{Version: "v1"}, Build{Module: "example.test/m", Replaces: map[string]string{"example.test/s": "./stub"},
		Edits: map[string][]Edit{"a/a.go": {{Find: "old", Put: "1"}}}}}
	if err := m.lay(source, module); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"go.mod":        "replace example.test/m => ./module\n",
		"stub/go.mod":   "module example.test/s\n",
		"module/a/a.go": "const A = 1\n",
	} {
		text, err := os.ReadFile(filepath.Join(source, path))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, %q has no %q", path, err, text, want)
		}
	}
	m.Replaces, m.Edits["a/a.go"][0].Find = nil, "nowhere"
	if err := m.lay(t.TempDir(), module); err == nil || !strings.Contains(err.Error(), `nothing matches "nowhere"`) {
		t.Errorf("an edit that finds nothing: %v", err)
	}
}
