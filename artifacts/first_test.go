package artifacts

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"netlab.dev/netlab/components"
)

// shown collects what a user is shown.
type shown struct {
	mu    sync.Mutex
	steps []string
	warns []string
}

func (w *shown) Changing(name string) (func(error), func(string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, name)
	return func(error) {}, func(string) {}
}

func (w *shown) Warn(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warns = append(w.warns, text)
}

// choosable is a catalog with a CNI of two images that can be built, without a compiler: they are
// texts. The registry of p has the first one.
func (p pullable) choosable(t *testing.T) (components.Catalog, v1.Hash) {
	t.Helper()
	host, _, _ := strings.Cut(p.ref, "/")
	img, err := random.Image(2048, 2)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(host + "/cni/agent:v9")
	if err == nil {
		err = remote.Write(tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	c, err := components.Read(fstest.MapFS{"k/component.yaml": {Data: []byte("kind: cni\nversion: v9\nabout: a\nsource: b\nimages:\n" +
		"  - {name: '" + host + "/cni/agent', files: [{to: /a, text: a}]}\n  - {name: '" + host + "/cni/operator', files: [{to: /b, text: b}]}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	p.asked.Store(0)
	return c, digest
}

// got pulls what registries are asked for first, then takes each image from the source that has
// it, and returns where they came from.
func (o obtaining) got(t *testing.T) (from []string, err error) {
	t.Helper()
	if err := pullAll(t.Context(), []job{{obtaining: o, parts: o.set.Components}}); err != nil {
		return nil, err
	}
	for _, i := range o.set.Components[0].Images {
		dir, err := o.image(t.Context(), o.picture(o.set.Components[0], i))
		if err != nil {
			t.Fatal(err)
		}
		rec, err := readRecord(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := onlyImage(dir); err != nil {
			t.Error(err)
		}
		from = append(from, rec.From)
	}
	return from, nil
}

// Images of what a lab selects come from their registry where it comes before builds, and what it
// lacks is built, with one note.
func TestRegistryFirst(t *testing.T) {
	p := newPullable(t)
	catalog, digest := p.choosable(t)
	p.catalog = catalog
	host, _, _ := strings.Cut(p.ref, "/")
	for _, test := range []struct {
		name    string
		sources []Source
		turn    http.HandlerFunc
		from    string
		warns   string // what the one note has; "" for none
		err     string
	}{
		{"registry, then build", []Source{Registry, Build}, nil, "registry build", host + "/cni/operator:v9 is not available from " + host, ""},
		{"build, then registry", []Source{Build, Registry}, nil, "build build", "", ""},
		{"build", []Source{Build}, nil, "build build", "", ""},
		{"registry", []Source{Registry}, nil, "", "", "/cni/operator:v9 is not available"},
		{"a registry that refuses", []Source{Registry, Build}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "build build", "401", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.turn(test.turn)
			o := p.obtaining(t, t.TempDir())
			user := &shown{}
			o.Sources, o.Progress = test.sources, user
			from, err := o.got(t)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("it gives %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || strings.Join(from, " ") != test.from {
				t.Errorf("images come from %v, %v; want %s", from, err, test.from)
			}
			if notes := strings.Join(user.warns, "\n"); !strings.Contains(notes, test.warns) || (test.warns == "") != (notes == "") {
				t.Errorf("the notes are %q, want %q", notes, test.warns)
			}
			for _, i := range []string{inTmp} {
				if left, _ := os.ReadDir(filepath.Join(o.Dir, i)); len(left) > 0 {
					t.Errorf("left in %s are %v", i, left)
				}
			}
		})
	}
	p.turn(nil)

	// The same reference and the same place in the cache, whichever way it came.
	pulledOne, built := p.obtaining(t, t.TempDir()), p.obtaining(t, t.TempDir())
	built.Sources = []Source{Build}
	k := catalog["k"][0]
	var at []item
	for _, o := range []obtaining{pulledOne, built} {
		dir, err := o.image(t.Context(), o.picture(k, k.Images[0]))
		if err != nil {
			t.Fatal(err)
		}
		i, err := o.imageItem(o.picture(k, k.Images[0]))
		if err != nil {
			t.Fatal(err)
		}
		if dir != o.path(i) {
			t.Errorf("it is in %s, not in %s", dir, o.path(i))
		}
		at = append(at, i)
	}
	rec, _ := pulledOne.have(at[0])
	if at[0] != at[1] || rec.Digest != digest.String() {
		t.Errorf("pulled it is %v with the digest %s, built it is %v", at[0], rec.Digest, at[1])
	}

	// A registry that is down is noted once, for all of its images.
	p.close()
	o := p.obtaining(t, t.TempDir())
	user := &shown{}
	o.Progress = user
	if from, err := o.got(t); err != nil || strings.Join(from, " ") != "build build" {
		t.Errorf("images come from %v, %v", from, err)
	}
	if len(user.warns) != 1 || !strings.Contains(user.warns[0], "registry "+host+" cannot be reached: ") || !strings.HasSuffix(user.warns[0], "; its images are built here") {
		t.Errorf("the notes are %q", user.warns)
	}
}

// Nothing is built for an image that a registry may have, and no tool of a build is missing for
// it, until the registry was asked.
func TestRegistryFirstSavesBuilds(t *testing.T) {
	set := quickstart(t)
	builds := func(sources ...Source) (names []string) {
		c := Cache{Dir: t.TempDir(), Sources: sources}
		l := lookout{obtaining: obtaining{Cache: c, set: set, selfHash: anySelf}}
		works, err := l.builtHere().works()
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range works {
			names = append(names, w.item.name)
		}
		return names
	}
	all, fewer := builds(Build, Registry), builds(Registry, Build)
	for _, name := range []string{"flannel", "flannel-cni-plugin", "metallb", "ingress-nginx"} {
		if !slices.Contains(all, name) || slices.Contains(fewer, name) {
			t.Errorf("built are %s, after a registry %s", all, fewer)
		}
	}
	if !slices.Contains(fewer, "kube") {
		t.Errorf("after a registry, built are %s", fewer)
	}
	c := Cache{Dir: t.TempDir(), Sources: []Source{Registry}}
	err := c.lacking([]job{{obtaining: obtaining{Cache: c, set: set, selfHash: anySelf}, parts: set.Components}})
	if err == nil || strings.Contains(err.Error(), "quay.io/metallb") || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("without builds what is lacking is %v", err)
	}
}
