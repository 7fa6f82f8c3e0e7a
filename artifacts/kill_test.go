package artifacts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"netlab.dev/netlab/components"
)

// moments are at how many of which a process is killed.
const moments = 10

// victim is what a process of these tests does until it is killed.
func victim(what string) error {
	cache := Cache{Dir: os.Getenv("NETLAB_TEST_CACHE"), Self: os.Args[0]}
	if what == "import" {
		_, _, err := cache.ReadBundle(context.Background(), os.Stdin, quiet)
		return err
	}
	return pullsFrom(cache, what)
}

// pullsFrom pulls two images that a registry on loopback has.
func pullsFrom(cache Cache, host string) error {
	c, err := components.Read(fstest.MapFS{"k/component.yaml": {Data: []byte("kind: cni\nversion: v9\nabout: a\nsource: b\nimages:\n" +
		"  - {name: '" + host + "/cni/one', files: [{to: /a, text: a}]}\n  - {name: '" + host + "/cni/two', files: [{to: /b, text: b}]}\n")}})
	if err != nil {
		return err
	}
	cache.Sources = []Source{Registry}
	set := components.Set{Components: c["k"]}
	if err := cache.sweep(); err != nil {
		return err
	}
	o := obtaining{Cache: cache, set: set, step: quiet, pulls: newPulls(cache)}
	return pullAll(context.Background(), []job{{obtaining: o, parts: set.Components}})
}

// slowRegistry is a registry that sends blobs slowly, and counts their bytes.
type slowRegistry struct {
	host string
	sent atomic.Int64
	all  int64 // bytes of all blobs
}

func newSlowRegistry(t *testing.T) *slowRegistry {
	t.Helper()
	s := &slowRegistry{}
	held := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = &slowWriter{w, &s.sent}
		}
		held.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	for _, repository := range []string{"one", "two"} {
		img, err := random.Image(200_000, 3)
		if err != nil {
			t.Fatal(err)
		}
		tag, err := name.NewTag(s.host + "/cni/" + repository + ":v9")
		if err == nil {
			err = remote.Write(tag, img)
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range append(m.Layers, m.Config) {
			s.all += d.Size
		}
	}
	return s
}

// slowWriter writes 16 kB every 2 ms.
type slowWriter struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (w *slowWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), 16<<10)]
		written, writeErr := w.ResponseWriter.Write(part)
		w.ResponseWriter.(http.Flusher).Flush()
		n, p, err = n+written, p[len(part):], writeErr
		w.sent.Add(int64(written))
		time.Sleep(2 * time.Millisecond)
	}
	return n, err
}

// start runs this program as a victim.
func start(t *testing.T, what, cache string, in io.Reader) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NETLAB_TEST_VICTIM="+what, "NETLAB_TEST_CACHE="+cache)
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// sound checks that every entry of a cache is whole: images have all their blobs, unaltered.
func sound(t *testing.T, c Cache) (entries int) {
	t.Helper()
	for _, kind := range []string{inImages, inBuilds, inLayers, inPins} {
		all, _ := os.ReadDir(filepath.Join(c.Dir, kind))
		for _, e := range all {
			dir := filepath.Join(c.Dir, kind, e.Name())
			if rec, err := readRecord(dir); err != nil || rec.From == "" {
				t.Errorf("%s has the record %+v, %v", dir, rec, err)
			}
			entries++
			if kind != inImages {
				continue
			}
			if err := wholeImage(dir); err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
	return entries
}

func wholeImage(dir string) error {
	img, digest, err := onlyImage(dir)
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	all := []v1.Hash{digest, m.Config.Digest}
	for _, l := range m.Layers {
		all = append(all, l.Digest)
	}
	for _, want := range all {
		f, err := os.Open(filepath.Join(dir, "blobs", "sha256", want.Hex))
		if err != nil {
			return err
		}
		got, _, err := v1.SHA256(f)
		if err := errors.Join(err, f.Close()); err != nil || got != want {
			return fmt.Errorf("blob %s is %s (%v)", want, got, err)
		}
	}
	return nil
}

// A pull that is killed leaves nothing half in the cache, and the next one goes on with the bytes
// that had come.
func TestKilledPull(t *testing.T) {
	s := newSlowRegistry(t)
	wentOn := 0
	for moment := range moments {
		s.sent.Store(0)
		c := Cache{Dir: t.TempDir(), Self: os.Args[0]}
		cmd := start(t, s.host, c.Dir, nil)
		for deadline := time.Now().Add(20 * time.Second); s.sent.Load() < s.all*int64(moment)/moments; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d bytes were sent", s.sent.Load(), s.all)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		before := s.sent.Load()
		sound(t, c)
		if err := pullsFrom(c, s.host); err != nil {
			t.Fatalf("after %d bytes: %v", before, err)
		}
		if n := sound(t, c); n != 2 {
			t.Errorf("after %d bytes and a second pull there are %d images", before, n)
		}
		if again := s.sent.Load() - before; again < s.all {
			wentOn++
		}
		if left, _ := os.ReadDir(filepath.Join(c.Dir, inTmp)); len(left) > 0 {
			t.Errorf("left in tmp: %v", left)
		}
	}
	if wentOn < moments/2 {
		t.Errorf("%d of %d pulls went on with what had come", wentOn, moments)
	}
}

// An import that is killed leaves nothing half in the cache, and the next one completes it.
func TestKilledImport(t *testing.T) {
	o, all := ready(t)
	data := bundled(t, o.Cache, all)
	for moment := range moments {
		c := Cache{Dir: t.TempDir(), Self: os.Args[0]}
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := start(t, "import", c.Dir, in)
		in.Close()
		part := data[:len(data)*(moment+1)/moments]
		if _, err := out.Write(part); err != nil {
			t.Fatal(err)
		}
		if len(part) == len(data) {
			out.Close() // it is killed while it places what it has read, or after
		}
		time.Sleep(time.Duration(moment) * 5 * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		out.Close()
		had := sound(t, c)
		_, added, err := c.ReadBundle(t.Context(), bytes.NewReader(data), quiet)
		if err != nil || had+added != len(all) {
			t.Errorf("killed after %d of %d bytes it had %d entries, the next import added %d of %d, %v", len(part), len(data), had, added, len(all), err)
		}
		if n := sound(t, c); n != len(all) {
			t.Errorf("killed after %d of %d bytes and imported again, %d entries are there", len(part), len(data), n)
		}
		if left, _ := os.ReadDir(filepath.Join(c.Dir, inTmp)); len(left) > 0 {
			t.Errorf("left in tmp: %v", left)
		}
	}
}
