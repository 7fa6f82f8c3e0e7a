package pulumi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/providers"
)

// TestCheck: the loader's problems are on the paths of their properties.
func TestCheck(t *testing.T) {
	s := serve(t)
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: one}\nnodes:\n- {name: cp, role: control-plane}\n- {name: w, role: master}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a name is enough":    {small, nil},
		"no name":             {"hostAccess: true", []string{"metadata.name: is missing"}},
		"a field":             {small + "nods: []", []string{"nods: unknown field; did you mean nodes?"}},
		"a type":              {small + "hostAccess: 3", []string{"hostAccess: expected true or false"}},
		"an element":          {small + "nodes: [{name: cp, role: control-plane}, {name: w, role: master}]", []string{`nodes[1].role: "master" is not a Node role`}},
		"an integer":          {small + "nodes: [{name: cp, role: control-plane}, {name: w, role: worker, count: 2.5}]", []string{"nodes[1].count: expected an integer"}},
		"two at once":         {"metadata: {name: Big}\nprovider: vmware", []string{"metadata.name: ", "provider: "}},
		"a component":         {small + "cni: {name: flannel, options: {backend: gre}}", []string{"cni.options.backend: "}},
		"an option as number": {small + "verify: {throughput: {repeats: 3, min: 500Mbit}}", nil},
		"a secret":            {"metadata: {name: '!small'}", nil},
		"a wrong secret":      {small + "provider: '!vmware'", []string{"provider: "}},

		"a name that is not known yet":    {"metadata: {name: '?'}\nnodes: [{name: cp, role: control-plane}]", nil},
		"a network that is not known yet": {small + "networks: [{name: '?', cidr: 172.31.0.0/24}]\nnodes: [{name: cp, role: control-plane, networks: [lan]}]", nil},
		"all nodes not known yet":         {small + "nodes: '?'", nil},
		"a field beside unknown values":   {"metadata: {name: '?'}\nnods: []", []string{"nods: unknown field"}},

		"a file":                     {"file: ../scenarios/minimal.yaml", nil},
		"a file that is not there":   {"file: no/such.yaml", []string{"file: "}},
		"a file that is wrong":       {"file: " + broken, []string{"file: " + broken + ":6: nodes[1].role: "}},
		"a file beside fields":       {"file: ../scenarios/minimal.yaml\n" + small, []string{"metadata: is set beside file"}},
		"a file that is a number":    {"file: 3", []string{"file: is not the path of a lab file"}},
		"a file that is not known":   {"file: '?'", nil},
		"a file that is not a lab's": {"file: ../go.mod", []string{"file: ../go.mod:"}},
	} {
		matches(t, name, s.check(t, labType, c.text), c.want...)
	}
	for text, want := range map[string][]string{
		"lab: small":                                nil,
		"lab: '?'":                                  nil,
		"lab: small\ntriggers: [{a: 1}, 2]":         nil,
		"triggers: []":                              {"lab: is missing"},
		"lab: Small":                                {"lab: "},
		"lab: small\nallpairs: true":                {"allpairs: unknown property; did you mean allPairs?"},
		"lab: small\nthorough: 'yes'":               {"thorough: expected boolean"},
		"lab: small\nlatency: [clusterip, nowhere]": {`latency[1]: route "nowhere" not found`},
		"lab: small\nlatency: ['?']":                nil,
	} {
		matches(t, text, s.check(t, verificationType, text), want...)
	}
	matches(t, "a snapshot without a name", s.check(t, snapshotType, "lab: small"), "name: is missing")
}

// TestManifests: paths of properties are relative to where the program runs, those of a file to it.
func TestManifests(t *testing.T) {
	s := serve(t)
	const object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("here.yaml", []byte(object), 0o644); err != nil {
		t.Fatal(err)
	}
	file := s.exists(t, small+"manifests: [{path: there.yaml}]\n", providers.PhaseStopped)
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "there.yaml"), []byte(object), 0o644); err != nil {
		t.Fatal(err)
	}
	matches(t, "from where the program runs", s.check(t, labType, small+"manifests: [here.yaml, {path: ./here.yaml}]"),
		"manifests[1]: ") // the same object twice
	matches(t, "one that is not there", s.check(t, labType, small+"manifests: [there.yaml]"), "manifests[0]: "+filepath.Join(dir, "there.yaml")+" not found")
	tree, err := fields(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(tree["manifests"]), "[map[path:"+filepath.Join(filepath.Dir(file), "there.yaml")+"]]"; got != want {
		t.Errorf("imported as %s, want %s", got, want)
	}
	v := values{tree: map[string]any{"manifests": []any{map[string]any{"chart": "c", "values": "a: 1\nb: 2\n"}}}}
	text, err := v.text()
	if err != nil || !strings.Contains(string(text), filepath.Join(dir, "c")) || !strings.Contains(string(text), `"a: 1\nb: 2\n"`) {
		t.Errorf("a chart: %s (%v)", text, err)
	}
}

// TestReference: every field of a lab file is a property, and means the same.
func TestReference(t *testing.T) {
	s := serve(t)
	tree, err := fields("../labs/reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	delete(tree, "manifests") // their files are in nobody's directory
	text, err := yaml.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	matches(t, "the reference", s.check(t, labType, string(text)))
	asProperties, err := s.preview(t, labType, string(text))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "reference.yaml")
	if err := os.WriteFile(file, append([]byte("apiVersion: netlab/v1alpha1\nkind: Lab\n"), text...), 0o644); err != nil {
		t.Fatal(err)
	}
	asFile, err := s.preview(t, labType, "file: "+file)
	if err != nil {
		t.Fatal(err)
	}
	if !asProperties[planProperty].DeepEquals(asFile[planProperty]) {
		t.Error("the plan of the properties is not that of the file")
	}
}
