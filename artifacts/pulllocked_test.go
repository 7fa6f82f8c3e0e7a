package artifacts

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"netlab.dev/netlab/artifacts/registry"
	"netlab.dev/netlab/components"
)

// With a lock the digest decides, not the registry's tag: after the tag moved, the locked digest is
// pulled; an image of the new digest in the cache is reported before the registry is contacted; and
// where the registry no longer has the locked digest, nothing is built in its place.
func TestPullLocked(t *testing.T) {
	p := newPullable(t)
	repository, _, _ := strings.Cut(p.ref, ":v1")
	catalog, err := components.Read(fstest.MapFS{
		"k/component.yaml": {Data: []byte("kind: cni\nversion: v1\nabout: a\nsource: b\nimages: [{name: '" + repository + "'}]\n")},
		"k/supports.yaml":  {Data: []byte("networkPolicy: false\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.catalog = catalog
	pull := func(lock *components.Lock) (job, v1.Hash, error) {
		t.Helper()
		o := p.obtaining(t, t.TempDir()).withContainerd(t)
		o.set.Lock = lock
		k := o.set.Components[0]
		dir, err := o.image(t.Context(), o.picture(k, k.Images[0]))
		if err != nil {
			return job{}, v1.Hash{}, err
		}
		_, digest, err := onlyImage(dir)
		return job{obtaining: o, parts: o.set.Components}, digest, err
	}
	expect := func(when string, lock *components.Lock, want v1.Hash) job {
		t.Helper()
		j, got, err := pull(lock)
		if err != nil || got != want {
			t.Fatalf("%s: pulled %s (%v), want %s", when, got, err, want)
		}
		return j
	}
	first := p.push(t)
	locked := expect("no lock", nil, first)
	text, err := components.NewLock("v1", Platform, components.Artifacts{Ingredients: locked.mustContents(t)}).Text()
	if err != nil {
		t.Fatal(err)
	}
	lock, err := components.ParseLock(text)
	if is, _ := lock.Find(whatImage + p.ref); err != nil || is.Digest != first.String() || is.From != fromRegistry {
		t.Fatalf("the lock is %s (%v)", text, err)
	}

	second := p.push(t)
	expect("the tag moved, with the lock", &lock, first)
	other := expect("the tag moved, without the lock", nil, second)
	other.set.Lock = &lock
	p.asked.Store(0)
	if err := other.heed(); err == nil || !strings.Contains(err.Error(), p.ref) || p.asked.Load() != 0 {
		t.Errorf("the cache has what the tag has now: %v, after %d questions", err, p.asked.Load())
	}

	p.turn(http.NotFound)
	var refusal registry.Unavailable
	if _, _, err := pull(&lock); !errors.As(err, &refusal) {
		t.Errorf("the registry has lost the locked image: %v", err)
	}
	if _, got, err := pull(nil); err != nil || got == first || got == second {
		t.Errorf("without a lock it is built here: %s (%v)", got, err)
	}
}
