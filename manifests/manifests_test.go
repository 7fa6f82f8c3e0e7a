package manifests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
)

// files writes a directory of files and returns the path of its lab file.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "lab.yaml")
}

const (
	config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n"
	web    = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      initContainers: [{name: a, image: "busybox:1"}]
      containers: [{name: b, image: "example.test/web:1"}, {name: c, image: nginx}]
status: {replicas: 1}
`
)

func named(name string) string { return strings.Replace(config, "NAME", name, 1) }

// TestRead reads each kind of source, and knows where what it holds comes from.
func TestRead(t *testing.T) {
	file := files(t, map[string]string{
		"one.yaml":                    named("one") + "---\n" + web + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
		"list.yaml":                   "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: first}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: second, namespace: other}}\n",
		"dir/b.yaml":                  named("b"),
		"dir/a.yml":                   named("a"),
		"dir/c.txt":                   "not YAML: [",
		"over/kustomization.yaml":     "namePrefix: my-\nresources: [../base]\n",
		"base/kustomization.yaml":     "resources: [config.yaml]\n",
		"base/config.yaml":            named("base"),
		"chart/Chart.yaml":            "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
		"chart/values.yaml":           "word: theirs\n",
		"chart/templates/config.yaml": named("{{ .Release.Name }}-{{ .Values.word }}-{{ .Capabilities.KubeVersion.Minor }}"),
		"chart/templates/hook.yaml":   "apiVersion: v1\nkind: Pod\nmetadata: {name: hook, annotations: {helm.sh/hook: pre-install}}\n",
		"chart/templates/NOTES.txt":   "hello",
		"mine.yaml":                   "word: mine\n",
	})
	all, err := Read(file, []labs.Manifest{
		{Path: "one.yaml", Namespace: "default"}, {Path: "list.yaml", Namespace: "default"}, {Path: "dir", Namespace: "x"}, {Path: "over", Namespace: "default"},
		{Chart: "chart", Values: "word: inline\n", Release: "third", Namespace: "y"}, {Chart: "chart", Namespace: "y"}, {Chart: "chart", Values: "mine.yaml", Release: "second", Namespace: "y"},
	}, "v1.37.2")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		for _, o := range s.Objects {
			got = append(got, s.Name+": "+Called(o))
			if _, has := o.Object["status"]; has {
				t.Errorf("%s has a status", Called(o))
			}
		}
	}
	want := []string{
		"one.yaml: ConfigMap default/one", "one.yaml: Deployment default/web", "one.yaml: Namespace shop",
		"list.yaml: ConfigMap default/first", "list.yaml: ConfigMap other/second", "dir: ConfigMap x/a", "dir: ConfigMap x/b",
		"over: ConfigMap default/my-base", "chart: ConfigMap y/third-inline-37", "chart: ConfigMap y/shop-theirs-37", "chart: ConfigMap y/second-mine-37",
	}
	if !slices.Equal(got, want) {
		t.Errorf("read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	images := Lacking(all, []string{"docker.io/library/busybox:1"})
	if len(images) != 2 || images[0].Ref != "example.test/web:1" || images[0].Always || images[1].Ref != "nginx" || !images[1].Always {
		t.Errorf("lacking %+v", images)
	}
	r := Rendered(all, nil)
	if len(r.Ready) != 1 || r.Ready[0].Name != "web" || len(r.Objects) != len(want) {
		t.Errorf("rendered %d objects, waits for %v", len(r.Objects), r.Ready)
	}
	if r := Rendered(all, images); len(r.Ready) != 0 {
		t.Errorf("waits for %v, whose images are lacking", r.Ready)
	}
}

// TestReadRefuses: each problem names its entry, and all are reported at once.
func TestReadRefuses(t *testing.T) {
	file := files(t, map[string]string{
		"lab.yaml":    "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: x}\nmanifests:\n- nosuch.yaml\n- broken.yaml\n- empty\n- chart: empty\n- noobject.yaml\n- noname.yaml\n- a.yaml\n- b.yaml\n- void.yaml\n",
		"broken.yaml": "a: [", "noobject.yaml": "a: b\n", "noname.yaml": "apiVersion: v1\nkind: Pod\n", "empty/x.txt": "", "a.yaml": named("same"), "b.yaml": named("same"), "void.yaml": "# nothing\n",
	})
	var list []labs.Manifest
	for _, path := range []string{"nosuch.yaml", "broken.yaml", "empty", "", "noobject.yaml", "noname.yaml", "a.yaml", "b.yaml", "void.yaml"} {
		m := labs.Manifest{Path: path, Namespace: "default"}
		if path == "" {
			m.Chart = "empty"
		}
		list = append(list, m)
	}
	_, err := Read(file, list, "v1.37.2")
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{":5: manifests[0]: ", ":6: manifests[1]: broken.yaml: ", ":7: manifests[2]: has no YAML file", ":8: manifests[3]: chart empty: ",
		":9: manifests[4]: noobject.yaml holds something without apiVersion and kind", ":10: manifests[5]: noname.yaml holds a Pod without metadata.name",
		":12: manifests[7]: b.yaml has ConfigMap default/same, which a.yaml has too", ":13: manifests[8]: void.yaml has no object"} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Fatalf("line %d of\n%v\ndoes not have %q", i, err, want)
		}
	}
	if !strings.Contains(lines[0], "paths are relative to the lab file") {
		t.Errorf("no hint: %s", lines[0])
	}
}

func TestChanges(t *testing.T) {
	got := Changes(map[string]string{"Pod a/same": "1", "Pod a/gone": "1", "Pod a/changed": "1"}, map[string]string{"Pod a/same": "1", "Pod a/changed": "2", "Pod a/new": "1"})
	if want := []string{"apply Pod a/changed", "apply Pod a/new", "delete Pod a/gone"}; !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	if got := Changes(nil, nil); got != nil {
		t.Errorf("nothing changes: %v", got)
	}
}
