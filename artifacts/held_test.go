package artifacts

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"netlab.dev/netlab/components"
)

// pushFiles puts an image of some files into a registry.
func pushFiles(t *testing.T, ref string, files map[string]string) {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for path, text := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Size: int64(len(text)), Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err == nil {
		err = remote.Write(tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The outputs of a build may come out of an image that has them, to the same place; one that
// lacks some is refused, and without a registry they are built.
func TestHeld(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // without Go
	p := newPullable(t)
	host, _, _ := strings.Cut(p.ref, "/")
	c, err := components.Read(fstest.MapFS{"k/component.yaml": {Data: []byte("kind: base\nversion: v1\nabout: a\nsource: b\nbuilds:\n" +
		"  - {name: plugins, module: m, packages: {a: m/a, b: m/b}, held: {name: '" + host + "/plugins', tag: v1, path: /opt/cni/bin}}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	p.catalog = c
	k := c["k"][0]
	m := made{k, k.Builds[0]}
	i, err := m.item()
	if err != nil {
		t.Fatal(err)
	}
	bare := m
	bare.Held = nil
	if other, err := bare.item(); err != nil || other != i {
		t.Errorf("it is at %v, built it would be at %v (%v)", i, other, err)
	}
	pushFiles(t, host+"/plugins:v1", map[string]string{"opt/cni/bin/a": "A", "opt/cni/bin/b": "B", "opt/cni/bin/c": "C", "a": "no"})
	o := p.obtaining(t, t.TempDir())
	dir, err := o.build(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "A", "b": "B"} {
		at := filepath.Join(dir, "bin", name)
		text, err := os.ReadFile(at)
		info, statErr := os.Stat(at)
		if err != nil || statErr != nil || string(text) != want || info.Mode().Perm()&0o111 == 0 {
			t.Errorf("%s is %q, %v, %v", name, text, err, statErr)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 2 {
		t.Errorf("the entry has %v, %v", all, err)
	}
	if rec, _ := o.have(i); rec.From != fromRegistry || !strings.HasPrefix(rec.Digest, "sha256:") {
		t.Errorf("its record is %+v", rec)
	}

	pushFiles(t, host+"/plugins:v1", map[string]string{"opt/cni/bin/a": "A", "b": "elsewhere"})
	o = p.obtaining(t, t.TempDir())
	if _, err := o.build(t.Context(), m); err == nil || !strings.Contains(err.Error(), "not found in it: 1 files of /opt/cni/bin, such as b") {
		t.Errorf("an image without b gives %v", err)
	}
	p.turn(http.NotFound)
	o = p.obtaining(t, t.TempDir())
	if _, err := o.build(t.Context(), m); err == nil || !strings.Contains(err.Error(), "go not found") {
		t.Errorf("without the image it is not built: %v", err)
	}
	if o.Sources = []Source{Registry}; !o.heldFirst(m) {
		t.Error("with registries alone it is not asked for")
	}
	if o.Sources = []Source{Build, Registry}; o.heldFirst(m) {
		t.Error("with builds first it is asked for")
	}
}

// Where Debian may not be installed the lowest layer of upstream's node image stands in for it.
func TestStandIn(t *testing.T) {
	p := newPullable(t)
	p.catalog = p.withUpstream(t)
	p.push(t)
	cache := t.TempDir()
	o := p.obtaining(t, cache)
	if j, _, why := o.settles(t, "kind"); j.base.ref != "" || why != "" {
		t.Errorf("with builds %q stands in (%s)", j.base.ref, why)
	}
	o.Sources = []Source{Registry}
	j, node, _ := o.settles(t, "kind")
	if j.base.ref != "others/base" || !j.over {
		t.Fatalf("without builds %q stands in", j.base.ref)
	}
	if err := o.lacking([]job{j}); err != nil {
		t.Errorf("it is said to be lacking: %v", err)
	}
	dir, err := j.layer(t.Context(), "others/base")
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := o.image(t.Context(), o.upstream(named(t, o.set, "node"), *node.Over))
	if err != nil {
		t.Fatal(err)
	}
	img, _, err := onlyImage(upstream)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	want, err := layers[0].DiffID()
	if err != nil {
		t.Fatal(err)
	}
	rec, err := readRecord(dir)
	if err != nil || rec.Digest != want.String() || rec.From != fromRegistry {
		t.Errorf("it is recorded as %+v, %v; the lowest layer is %s", rec, err, want)
	}
	if l, err := o.tarLayer(dir); err != nil || l.size == 0 {
		t.Errorf("the layer has %d bytes, %v", l.size, err)
	}

	// A lab that has it keeps it, also where Debian may be installed.
	later := p.obtaining(t, cache)
	later.Before = components.Artifacts{Images: []string{"others"}, Node: components.NodeImage{Over: p.ref + "@" + node.Over.Pull},
		DebianBase: filepath.Join(o.path(rootfsItem(rec.Digest)), "root")}
	if j, _, _ := later.settles(t, "kind"); j.base.ref != "others/base" {
		t.Errorf("for a lab that has it %q stands in", j.base.ref)
	}
	offline := p.obtaining(t, cache)
	offline.Sources = nil
	if j, _, why := offline.settles(t, "kind"); j.base.ref != "others/base" || why != "" {
		t.Errorf("offline %q stands in (%s)", j.base.ref, why)
	}
}
