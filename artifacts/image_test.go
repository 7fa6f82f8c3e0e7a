package artifacts

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/components"
)

const twoImages = `kind: base
version: v1.2.3
about: a
source: b
layers:
  - name: shared
    files: [{to: /etc/shared, text: "both have it\n"}]
images:
  - name: example.org/one
    from: [k/shared]
    dirs: [{path: /data, mode: 0700, uid: 101}]
    files:
      - {to: /etc/one, own: files/one, mode: 0600, uid: 7}
      - {to: /bin/netlab, self: true}
    links: {/bin/n: /bin/netlab}
    entrypoint: [/bin/n, agent]
    env: [A=b]
    user: "101"
  - name: example.org/two
    tag: latest
    from: [k/shared]
`

// twoOf returns an obtaining of the catalog above and its images.
func twoOf(t *testing.T) (obtaining, []picture) {
	t.Helper()
	c, err := components.Read(fstest.MapFS{"k/component.yaml": {Data: []byte(twoImages)}, "k/files/one": {Data: []byte("one\n")}})
	if err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(t.TempDir(), "self")
	if err := os.WriteFile(self, []byte("#!netlab"), 0o755); err != nil {
		t.Fatal(err)
	}
	o, err := Cache{Dir: t.TempDir(), Self: self, Sources: AllSources()}.obtaining(t.Context(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	o.set = everything(c)
	k := named(t, o.set, "k")
	return o, []picture{o.picture(k, k.Images[0]), o.picture(k, k.Images[1])}
}

func TestImageReadBack(t *testing.T) {
	o, pictures := twoOf(t)
	dir, err := o.image(t.Context(), pictures[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := l.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := manifest.Manifests[0].Annotations[imageNameAnnotation]; got != "example.org/one:v1.2.3" {
		t.Errorf("named %q", got)
	}
	img, err := l.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; !slices.Equal(c.Entrypoint, []string{"/bin/n", "agent"}) || c.User != "101" || c.Env[1] != "A=b" || !hasPath(c.Env) {
		t.Errorf("config %+v", c)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	got := map[string]tar.Header{}
	var order []string
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(epoch) {
			t.Errorf("%s has the time %s", h.Name, h.ModTime)
		}
		got[h.Name], order = *h, append(order, h.Name)
	}
	if !slices.Equal(order, []string{"bin/n", "bin/netlab", "data/", "etc/one"}) {
		t.Errorf("the layer holds %v", order)
	}
	if h := got["etc/one"]; h.Mode != 0o600 || h.Uid != 7 || h.Size != 4 {
		t.Errorf("etc/one is %+v", h)
	}
	if h := got["data/"]; h.Mode != 0o700 || h.Uid != 101 {
		t.Errorf("data is %+v", h)
	}
	if h := got["bin/netlab"]; h.Mode != 0o755 || h.Size != 8 {
		t.Errorf("bin/netlab is %+v", h)
	}
	if h := got["bin/n"]; h.Linkname != "/bin/netlab" {
		t.Errorf("bin/n is %+v", h)
	}
}

func TestImagesAreReproducible(t *testing.T) {
	var digests []string
	for range 2 {
		o, pictures := twoOf(t) // a separate cache each time
		dir, err := o.image(t.Context(), pictures[0])
		if err != nil {
			t.Fatal(err)
		}
		index, err := os.ReadFile(filepath.Join(dir, "index.json"))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, string(index))
	}
	if digests[0] != digests[1] {
		t.Errorf("one recipe gives\n%s\nand\n%s", digests[0], digests[1])
	}
}

func TestArchiveHoldsASharedLayerOnce(t *testing.T) {
	o, pictures := twoOf(t)
	artifacts := components.Artifacts{Layouts: map[string]string{}}
	var refs []string
	for _, p := range pictures {
		dir, err := o.image(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		refs, artifacts.Layouts[p.ref] = append(refs, p.ref), dir
	}
	count := func(held string) int {
		t.Helper()
		r, w := io.Pipe()
		go func() {
			w.CloseWithError(WriteImages(artifacts, w, refs, func(hex string) bool {
				_, err := os.Stat(filepath.Join(held, hex))
				return err == nil
			}))
		}()
		names := map[string]bool{}
		for in := tar.NewReader(r); ; {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if names[h.Name] {
				t.Errorf("%s is in the archive twice", h.Name)
			}
			names[h.Name] = true
		}
		if !names["index.json"] || !names["oci-layout"] {
			t.Errorf("the archive holds %v", names)
		}
		return len(names) - 2
	}
	// A shared layer, a separate one, and a manifest and config for each.
	if n := count(t.TempDir()); n != 6 {
		t.Errorf("%d blobs", n)
	}
	if n := count(filepath.Join(artifacts.Layouts[refs[1]], "blobs", "sha256")); n != 3 {
		t.Errorf("%d blobs besides those that are there", n)
	}
	if err := WriteImages(artifacts, io.Discard, []string{"example.test/none:v1"}, nil); err == nil {
		t.Error("an image that the artifacts do not have is written")
	}
}

func TestTreeRoundTrip(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: owners and whiteouts")
	}
	needs(t, "tar")
	from := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(from, "usr/bin"), 0o755),
		os.MkdirAll(filepath.Join(from, "dev"), 0o755),
		os.WriteFile(filepath.Join(from, "dev/null"), nil, 0o644),
		os.WriteFile(filepath.Join(from, "usr/bin/a"), []byte("a"), 0o755),
		os.Chmod(filepath.Join(from, "usr/bin/a"), 0o755|fs.ModeSetuid),
		os.Lchown(filepath.Join(from, "usr/bin"), 3, 4),
		os.Link(filepath.Join(from, "usr/bin/a"), filepath.Join(from, "usr/bin/b")),
		os.Symlink("a", filepath.Join(from, "usr/bin/c")),
		unix.Mknod(filepath.Join(from, "usr/gone"), unix.S_IFCHR, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	o := obtaining{Cache: Cache{Dir: t.TempDir(), Sources: AllSources()}, step: quiet}
	layer, err := o.keep(t.Context(), item{inLayers, "x", "0"}, func(dir string, rec *record) error {
		return o.writeLayer(t.Context(), components.Component{}, components.Contents{}, from, dir, rec)
	})
	if err != nil {
		t.Fatal(err)
	}
	to, err := o.unpack(t.Context(), layer)
	if err != nil {
		t.Fatal(err)
	}
	stat := func(name string) (st unix.Stat_t) {
		t.Helper()
		if err := unix.Lstat(filepath.Join(to, name), &st); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return st
	}
	if a, b := stat("usr/bin/a"), stat("usr/bin/b"); a.Ino != b.Ino || a.Mode&0o7777 != 0o4755 {
		t.Errorf("a is %o in %d, its link in %d", a.Mode, a.Ino, b.Ino)
	}
	if d := stat("usr/bin"); d.Uid != 3 || d.Gid != 4 {
		t.Errorf("owner %d:%d", d.Uid, d.Gid)
	}
	if w := stat("usr/gone"); w.Mode&unix.S_IFMT != unix.S_IFCHR || w.Rdev != 0 {
		t.Errorf("the whiteout became %o", w.Mode)
	}
	if target, err := os.Readlink(filepath.Join(to, "usr/bin/c")); err != nil || target != "a" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if left, _ := os.ReadDir(filepath.Join(to, "dev")); len(left) > 0 {
		t.Errorf("/dev holds %v", left)
	}
}
