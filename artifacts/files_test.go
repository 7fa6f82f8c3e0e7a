package artifacts

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"

	"netlab.dev/netlab/artifacts/modules"
	"netlab.dev/netlab/components"
)

// proxyOf is a module proxy in a directory that has one module with a chart.
func proxyOf(t *testing.T, m module.Version) modules.Settings {
	t.Helper()
	source := t.TempDir()
	if err := os.CopyFS(source, fstest.MapFS{"go.mod": {Data: []byte("module " + m.Path + "\n")}, "charts/c/Chart.yaml": {Data: []byte("name: c\n")}}); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := modzip.CreateFromDir(&archive, m, source); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := filepath.Join(dir, m.Path, "@v", m.Version+".zip")
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return modules.Settings{Proxies: "file://" + dir, SumDB: "off"}
}

// charted is a component whose build has a chart, and the build.
func charted(t *testing.T, cache string) (obtaining, made) {
	t.Helper()
	c, err := components.Read(fstest.MapFS{"k/component.yaml": {Data: []byte("kind: cni\nversion: v1.2.3\nabout: a\nsource: b\nbuilds:\n" +
		"  - {name: thing, module: example.com/thing, packages: {thing: .}, copies: {chart: charts/c}}\n" +
		"install: {chart: k/chart, release: k, namespace: k}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	o := obtaining{Cache: Cache{Dir: cache, Sources: AllSources()}, set: everything(c), step: quiet}
	o.modules = proxyOf(t, module.Version{Path: "example.com/thing", Version: "v1.2.3"})
	k := named(t, o.set, "k")
	return o, made{k, k.Builds[0]}
}

// A chart needs neither Go nor a compiler, also offline once it is cached, and comes from where
// earlier versions of netlab kept it.
func TestFilesOfModule(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	o, m := charted(t, t.TempDir())
	works, err := worksOf([]job{{obtaining: o, parts: o.set.Components}})
	if err != nil || len(works) != 0 {
		t.Errorf("for a chart %v is built, %v", works, err)
	}
	if err := downloadFiles(t.Context(), []job{{obtaining: o, parts: o.set.Components}}); err != nil {
		t.Fatal(err)
	}
	o.Sources = nil
	dir, err := o.files(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "files", "chart", "Chart.yaml")); err != nil || string(text) != "name: c\n" {
		t.Errorf("the chart is %q, %v", text, err)
	}
	if rec, err := readRecord(dir); err != nil || rec.From != fromModule {
		t.Errorf("it is recorded as %+v, %v", rec, err)
	}

	none, m := charted(t, t.TempDir())
	none.Sources = nil
	if _, err := none.files(t.Context(), m); err == nil || !strings.Contains(err.Error(), "files of example.com/thing@v1.2.3 are not in the cache") {
		t.Errorf("offline it gives %v", err)
	}
	earlier, err := m.item()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.keep(t.Context(), earlier, func(dir string, _ *record) error {
		return os.CopyFS(filepath.Join(dir, "files", "chart"), fstest.MapFS{"Chart.yaml": {Data: []byte("name: earlier\n")}})
	}); err != nil {
		t.Fatal(err)
	}
	if dir, err = none.files(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "files", "chart", "Chart.yaml")); err != nil || string(text) != "name: earlier\n" {
		t.Errorf("that of an earlier netlab is %q, %v", text, err)
	}
}
