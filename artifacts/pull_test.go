package artifacts

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"netlab.dev/netlab/components"
)

// pullable is a registry on loopback that holds one image for two platforms, and a
// catalog that pins it.
type pullable struct {
	catalog  components.Catalog
	ref      string  // that the image is to have here
	manifest v1.Hash // of the image for this machine
	asked    *atomic.Int32
	close    func()
	turn     func(http.HandlerFunc) // what answers from now on; nil: the registry
}

func newPullable(t *testing.T) pullable {
	t.Helper()
	held := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var other atomic.Pointer[http.HandlerFunc]
	asked := &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if h := other.Load(); h != nil {
			(*h)(w, r)
			return
		}
		held.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p := pullable{asked: asked, close: server.Close, turn: func(h http.HandlerFunc) {
		if h == nil {
			other.Store(nil)
			return
		}
		other.Store(&h)
	}}
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"s390x", architecture} {
		img, err := random.Image(512, 2)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		if p.manifest, err = img.Digest(); err != nil {
			t.Fatal(err)
		}
	}
	repository := strings.TrimPrefix(server.URL, "http://") + "/proxies/envoy"
	p.ref = repository + ":v1"
	tag, err := name.NewTag(p.ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	text := "kind: cni\nversion: v9\nabout: a\nsource: b\nimages:\n  - {name: '" + repository + "', tag: v1, pull: '" + digest.String() +
		"', optional: envoy, without: L7}\nneeds:\n  - {option: CONFIG_PROXY, module: proxy, with: envoy}\n"
	if p.catalog, err = components.Read(fstest.MapFS{
		"k/component.yaml": {Data: []byte(text)},
		"k/supports.yaml":  {Data: []byte("l7Policy: {{ not .Lacking.envoy }}\nl7Reason: {{ .Lacking.envoy | quote }}\n")},
	}); err != nil {
		t.Fatal(err)
	}
	asked.Store(0)
	return p
}

func (p pullable) obtaining(t *testing.T, cache string) obtaining {
	t.Helper()
	self := filepath.Join(t.TempDir(), "self")
	if err := os.WriteFile(self, []byte("#!netlab"), 0o755); err != nil {
		t.Fatal(err)
	}
	o, err := Cache{Dir: cache, Self: self, Sources: AllSources()}.obtaining(t.Context(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	o.set = everything(p.catalog)
	return o
}

// pulls pulls the image, and returns why it is not available.
func (p pullable) pulls(t *testing.T, o obtaining) string {
	t.Helper()
	lacking, err := o.pull(t.Context(), []components.Component{p.catalog["k"][0]})
	if err != nil {
		t.Fatal(err)
	}
	return lacking[p.ref]
}

func TestPull(t *testing.T) {
	p := newPullable(t)
	o := p.obtaining(t, t.TempDir())
	var steps []string
	o.step = func(name string) func(error) { steps = append(steps, name); return func(error) {} }
	if why := p.pulls(t, o); why != "" {
		t.Fatal(why)
	}
	if len(steps) != 1 || steps[0] != "pull "+p.ref+" (0.0 MB)" {
		t.Errorf("steps are %v", steps)
	}
	dir, err := o.image(t.Context(), o.picture(p.catalog["k"][0], p.catalog["k"][0].Images[0]))
	if err != nil {
		t.Fatal(err)
	}
	if _, digest, err := onlyImage(dir); err != nil || digest != p.manifest {
		t.Errorf("it is %v, %v; that of this machine is %v", digest, err, p.manifest)
	}
	l, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.IndexManifest()
	if err != nil || m.Manifests[0].Annotations[imageNameAnnotation] != p.ref {
		t.Errorf("its name here is %v, %v", m.Manifests[0].Annotations, err)
	}
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil || len(blobs) != 4 {
		t.Errorf("%d blobs, %v; want manifest, config and two layers", len(blobs), err)
	}
	status, err := o.Status(p.catalog)
	if err != nil || len(status[0].Lacks) != 0 || !status[0].Cached || status[0].From[0] != fromRegistry {
		t.Errorf("it is reported as %+v, %v", status, err)
	}

	p.close()
	asked := p.asked.Load()
	again := p.obtaining(t, o.Dir)
	again.Sources = nil
	if why := p.pulls(t, again); why != "" || p.asked.Load() != asked {
		t.Errorf("what is cached takes %d questions, and is lacking: %q", p.asked.Load()-asked, why)
	}
}

// A registry without the image is not an error; it is asked once, and leaves nothing behind.
func TestPullRefused(t *testing.T) {
	p := newPullable(t)
	other, err := random.Image(512, 1)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := other.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		answer  http.HandlerFunc
		want    string
		atMost  int32
		prepare func(*obtaining)
	}{
		"another image": {func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				w.Header().Set("Docker-Content-Digest", filepath.Base(r.URL.Path)) // a lie
				w.Write(elsewhere)
			}
		}, "does not match", 4, nil},
		"no such image": {http.NotFound, "404", 3, nil},
		"out of order":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "503", 3, nil},
		"offline":       {nil, "--offline", 0, func(o *obtaining) { o.Sources = nil }},
		"no kernel":     {nil, "the kernel has no CONFIG_PROXY, which k with envoy needs", 0, func(o *obtaining) { o.KernelHas = func(string, string) bool { return false } }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p.turn(test.answer)
			p.asked.Store(0)
			o := p.obtaining(t, t.TempDir())
			if test.prepare != nil {
				test.prepare(&o)
			}
			why := p.pulls(t, o)
			if !strings.Contains(why, test.want) || strings.Contains(why, "\n") {
				t.Errorf("it is lacking since %q, want %q", why, test.want)
			}
			if n := p.asked.Load(); n > test.atMost {
				t.Errorf("%d questions, at most %d wanted", n, test.atMost)
			}
			if images, _ := os.ReadDir(filepath.Join(o.Dir, inImages)); len(images) > 0 {
				t.Errorf("it left %v", images)
			}
			s := everything(p.catalog).Support(components.Artifacts{Lacking: map[string]string{p.ref: why}})
			if s.L7Policy || s.L7Reason != why {
				t.Errorf("the CNI claims %+v", s)
			}
			status, err := o.Status(p.catalog)
			if err != nil || len(status[0].Lacks) != 1 || !strings.Contains(status[0].Lacks[0], p.ref) || !status[0].Cached {
				t.Errorf("it is reported as %+v, %v", status, err)
			}
		})
	}
	t.Run("connection refused", func(t *testing.T) {
		p.close()
		why := p.pulls(t, p.obtaining(t, t.TempDir()))
		if !strings.Contains(why, "connection refused") || !strings.HasPrefix(why, "registry 127.0.0.1:") {
			t.Errorf("it is lacking since %q", why)
		}
	})
}

// An interrupted pull ends with what interrupted it.
func TestPullStopped(t *testing.T) {
	p := newPullable(t)
	p.turn(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(stopped) })
	if lacking, err := p.obtaining(t, t.TempDir()).pull(ctx, []components.Component{p.catalog["k"][0]}); !errors.Is(err, stopped) {
		t.Errorf("stopped, it gives %v, %v", lacking, err)
	}
}

// Running Nodes keep what they were created with.
func TestPullForNodesThatRun(t *testing.T) {
	p := newPullable(t)
	without := p.obtaining(t, t.TempDir())
	without.Before = components.Artifacts{Images: []string{"others"}, Lacking: map[string]string{p.ref: "it was not had then"}}
	if why := p.pulls(t, without); why != "it was not had then" || p.asked.Load() != 0 {
		t.Errorf("made without it: %q, %d questions", why, p.asked.Load())
	}
	with := p.obtaining(t, t.TempDir())
	with.Before = components.Artifacts{Images: []string{"others", p.ref}}
	if s := everything(p.catalog).Support(with.Before); !s.L7Policy || s.L7Reason != "" {
		t.Errorf("made with it, the CNI claims %+v", s)
	}
	if why := p.pulls(t, with); why != "" {
		t.Errorf("made with it: %q", why)
	}
	p.close()
	gone := p.obtaining(t, t.TempDir())
	gone.Before = with.Before
	_, err := gone.pull(t.Context(), []components.Component{p.catalog["k"][0]})
	var hint interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), p.ref) || !errors.As(err, &hint) {
		t.Errorf("made with it, and gone: %v", err)
	}
}
