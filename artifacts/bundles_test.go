package artifacts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/artifacts/bundle"
	"netlab.dev/netlab/components"
)

// ready fills the cache of an obtaining with an image of two layers, a build, a layer with the build's
// program and a digest, and returns them.
func ready(t *testing.T) (obtaining, []ingredient) {
	t.Helper()
	o, pictures := twoOf(t)
	if _, err := o.image(t.Context(), pictures[1]); err != nil {
		t.Fatal(err)
	}
	image, err := o.imageItem(pictures[1])
	if err != nil {
		t.Fatal(err)
	}
	layer, err := o.layerItem("k/shared")
	if err != nil {
		t.Fatal(err)
	}
	built, with, pin := item{inBuilds, "program", "1234"}, item{inLayers, "program", "1234"}, item{inPins, "n", "5678"}
	program := strings.Repeat("#!p\n", 20_000)
	for i, fill := range map[item]func(dir string, rec *record) error{
		built: func(dir string, _ *record) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "bin", "p"), []byte(program), 0o755))
		},
		with: func(dir string, rec *record) error {
			files := components.Contents{Files: []components.File{{To: "/usr/bin/p", Text: program, Mode: 0o755}}}
			return o.writeLayer(t.Context(), components.Component{}, files, "", dir, rec)
		},
		pin: func(_ string, rec *record) error { rec.Digest = "sha256:0"; return nil },
	} {
		if _, err := o.keep(t.Context(), i, fill); err != nil {
			t.Fatal(err)
		}
	}
	return o, []ingredient{{item: image, what: "image two"}, {item: layer, what: "layer k/shared"}, {item: built, what: "build program"},
		{item: with, what: "layer program"}, {item: pin, what: "digest of n"}}
}

func bundled(t *testing.T, c Cache, all []ingredient) []byte {
	t.Helper()
	var contents []bundle.Content
	for _, i := range all {
		content, err := c.content(i)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, content)
	}
	var out bytes.Buffer
	if _, err := bundle.Write(&out, bundle.Index{Platform: Platform}, contents); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What a bundle brings into an empty cache is what was in the other, and serves in its place.
func TestBundle(t *testing.T) {
	o, all := ready(t)
	data := bundled(t, o.Cache, all)
	to := Cache{Dir: t.TempDir()}
	for n, want := range []int{5, 0, 1} {
		if n == 2 { // its program is in a layer that is there
			if err := to.remove(all[2].item); err != nil {
				t.Fatal(err)
			}
		}
		index, added, err := to.ReadBundle(t.Context(), bytes.NewReader(data), quiet)
		if err != nil || added != want || index.Bytes > 120_000 {
			t.Fatalf("import %d added %d entries of %d bytes, expected %d (%v)", n+1, added, index.Bytes, want, err)
		}
	}
	for _, i := range all {
		rec, there := to.have(i.item)
		before, _ := o.have(i.item)
		if !there || rec.From != fromBundle || i.kind != inImages && rec.Digest != before.Digest {
			t.Errorf("%s: record %+v, was %+v", i.what, rec, before)
		}
		for _, file := range filesBelow(t, o.path(i.item)) {
			was, err := os.ReadFile(filepath.Join(o.path(i.item), file))
			if err != nil {
				t.Fatal(err)
			}
			is, err := os.ReadFile(filepath.Join(to.path(i.item), file))
			if err != nil || file != recordFile && file != "index.json" && file != "oci-layout" && !bytes.Equal(is, was) {
				t.Errorf("%s: %s has %d bytes, was %d (%v)", i.what, file, len(is), len(was), err)
			}
		}
	}
	_, digest, err := onlyImage(to.path(all[0].item))
	_, was, wasErr := onlyImage(o.path(all[0].item))
	if err := errors.Join(err, wasErr); err != nil || digest != was {
		t.Errorf("image %s, was %s (%v)", digest, was, err)
	}
	if left, err := os.ReadDir(filepath.Join(to.Dir, inTmp)); err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v (%v)", left, err)
	}
}

// Nothing of a damaged bundle gets into the cache, wherever the damage is.
func TestDamagedBundle(t *testing.T) {
	o, all := ready(t)
	data := bundled(t, o.Cache, all)
	to := Cache{Dir: t.TempDir()}
	for _, length := range []int{0, 10, len(data) / 2, len(data) - 1} {
		if _, _, err := to.ReadBundle(t.Context(), bytes.NewReader(data[:length]), quiet); err == nil {
			t.Errorf("%d of %d bytes are read without an error", length, len(data))
		}
	}
	for _, i := range all {
		if _, there := to.have(i.item); there {
			t.Errorf("%s was taken from a damaged bundle", i.what)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(to.Dir, inTmp)); len(left) != 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

// A bundle for another platform and entries that are no place of the cache are refused.
func TestForeignBundle(t *testing.T) {
	for want, write := range map[string]func(w io.Writer) error{
		"the bundle is for plan9/mips": func(w io.Writer) error {
			_, err := bundle.Write(w, bundle.Index{Platform: "plan9/mips"}, nil)
			return err
		},
		`entry "builds/../../etc-1"`: func(w io.Writer) error {
			note, err := bundle.NewNote(bundle.Entry{ID: "builds/../../etc-1"}, "x")
			if err == nil {
				_, err = bundle.Write(w, bundle.Index{Platform: Platform}, []bundle.Content{note})
			}
			return err
		},
		`entry "builds/b-1" of form "note"`: func(w io.Writer) error {
			note, err := bundle.NewNote(bundle.Entry{ID: "builds/b-1"}, "x")
			if err == nil {
				_, err = bundle.Write(w, bundle.Index{Platform: Platform}, []bundle.Content{note})
			}
			return err
		},
		`entry "stores/images-1"`: func(w io.Writer) error {
			note, err := bundle.NewNote(bundle.Entry{ID: "stores/images-1"}, "x")
			if err == nil {
				_, err = bundle.Write(w, bundle.Index{Platform: Platform}, []bundle.Content{note})
			}
			return err
		},
	} {
		var data bytes.Buffer
		if err := write(&data); err != nil {
			t.Fatal(err)
		}
		_, _, err := Cache{Dir: t.TempDir()}.ReadBundle(t.Context(), &data, quiet)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

// Offline, all that labs lack is listed at once, and nothing is built.
func TestOffline(t *testing.T) {
	set := quickstart(t)
	c := Cache{Dir: t.TempDir(), Self: os.Args[0]}
	_, err := c.Obtain(t.Context(), set, func(name string) func(error) {
		t.Errorf("offline there was a step: %s", name)
		return func(error) {}
	})
	var lacks lackingError
	if !errors.As(err, &lacks) || len(lacks.what) < 20 || !strings.Contains(err.Error(), "and ") || !strings.Contains(lacks.Hint(), "netlab bundle import") {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{"image registry.k8s.io/pause:", "build containerd ", "layer debian/base", "image quay.io/metallb/speaker:", "files of flannel "} {
		if !strings.Contains(strings.Join(lacks.what, "\n"), want) {
			t.Errorf("%q is not listed among %q", want, lacks.what)
		}
	}
	c.Sources = []Source{Registry}
	// What a registry may have is not lacking before it was asked.
	var without lackingError
	if _, err := c.Obtain(t.Context(), set, quiet); !errors.As(err, &without) || !slices.Contains(without.what, "layer debian/base") ||
		slices.ContainsFunc(without.what, func(what string) bool { return strings.HasPrefix(what, "image quay.io/") }) {
		t.Errorf("with registries alone: %q", without.what)
	}
	if found := c.Missing(set); len(found) != 0 {
		t.Errorf("with registries alone doctor finds %v", found)
	}
	c.Sources = nil
	if found := c.Missing(set); len(found) != 1 || found[0].Error() != err.Error() {
		t.Errorf("doctor finds %v", found)
	}
}

// A build that is excluded is refused before it begins.
func TestWithoutBuilds(t *testing.T) {
	o, pictures := twoOf(t)
	o.set = quickstart(t)
	o.Sources = []Source{Registry}
	if _, err := o.layer(t.Context(), "debian/base"); err == nil || !strings.Contains(err.Error(), "nothing is built") {
		t.Errorf("a layer of Debian: %v", err)
	}
	m, err := o.output(containerdBuild)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.build(t.Context(), m); err == nil || !strings.Contains(err.Error(), "containerd") || !strings.Contains(err.Error(), "nothing is built") {
		t.Errorf("containerd: %v (%d images)", err, len(pictures))
	}
}

func TestParseSources(t *testing.T) {
	for text, want := range map[string]string{
		"build": "[build]", "build, registry": "[build registry]", "registry,build": "[registry build]",
		"cache": `source "cache" not found`, "build,build": "listed twice", "": `source "" not found`,
	} {
		all, err := ParseSources(text)
		if got := fmt.Sprint(all, err); !strings.Contains(got, want) {
			t.Errorf("%q gives %s, want %s", text, got, want)
		}
	}
}

func filesBelow(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var rel string
			rel, err = filepath.Rel(dir, p)
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
