package registry

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
)

var here = v1.Platform{OS: "linux", Architecture: runtime.GOARCH}

// served is a registry on loopback that may misbehave.
type served struct {
	host  string
	asked atomic.Int32
	mu    sync.Mutex
	turn  func(w http.ResponseWriter, r *http.Request, held http.Handler) // nil: it behaves
	close func()
}

func serve(t *testing.T) *served {
	t.Helper()
	held := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := &served{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		turn := s.turn
		s.mu.Unlock()
		if turn != nil {
			turn(w, r, held)
			return
		}
		held.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host, s.close = strings.TrimPrefix(server.URL, "http://"), server.Close
	return s
}

func (s *served) misbehave(turn func(w http.ResponseWriter, r *http.Request, held http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn = turn
}

// push puts an image of three layers of 300 kB each into the registry, among images for other
// platforms.
func (s *served) push(t *testing.T, repository string) (name.Tag, v1.Image) {
	t.Helper()
	img, err := random.Image(300_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	index := v1.ImageIndex(empty.Index)
	for arch, one := range map[string]v1.Image{"s390x": empty.Image, here.Architecture: img} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	tag := s.tag(t, repository)
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	s.asked.Store(0)
	return tag, img
}

func (s *served) tag(t *testing.T, repository string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(s.host + "/" + repository + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

// quick are limits for tests that wait for nothing.
func quick() Limits {
	return Limits{Reach: 20 * time.Second, Manifest: 20 * time.Second, Patience: 2 * time.Second, Pause: time.Millisecond,
		Retries: 2, Window: 20 * time.Second, Slowest: 1000, Parallel: 3}
}

// hasty are limits for tests of what comes slowly or never.
func hasty() Limits {
	l := quick()
	l.Window, l.Slowest = 1500*time.Millisecond, 100_000
	return l
}

// unreachable are limits for tests of a host that does not answer.
func unreachable() Limits {
	l := quick()
	l.Reach = 300 * time.Millisecond
	return l
}

// pulled pulls an image into a new layout.
func pulled(t *testing.T, c *Client, ref name.Reference, dir, stage string) (*Meter, error) {
	t.Helper()
	meter := &Meter{}
	image, err := c.Find(t.Context(), ref, here)
	if err == nil {
		err = c.Write(t.Context(), image, dir, stage, nil, meter)
	}
	return meter, err
}

// whole checks that a layout has an image, and that every blob has its digest.
func whole(t *testing.T, dir string, want v1.Image) {
	t.Helper()
	manifest, err := want.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := want.Digest()
	if err != nil {
		t.Fatal(err)
	}
	all := []v1.Hash{digest, manifest.Config.Digest}
	for _, l := range manifest.Layers {
		all = append(all, l.Digest)
	}
	for _, want := range all {
		f, err := os.Open(filepath.Join(dir, "blobs", "sha256", want.Hex))
		if err != nil {
			t.Error(err)
			continue
		}
		if got, _, err := v1.SHA256(f); err != nil || got != want {
			t.Errorf("blob %s has the digest %s, %v", want, got, err)
		}
		f.Close()
	}
	if index, err := layout.ImageIndexFromPath(dir); err != nil {
		t.Error(err)
	} else if m, err := index.IndexManifest(); err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest != digest {
		t.Errorf("the layout holds %+v, %v", m, err)
	}
}

// nothingIn checks that a directory is empty.
func nothingIn(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func isBlob(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }

// cut answers with the first half of a blob and ends the connection.
func cut(w http.ResponseWriter, r *http.Request, held http.Handler) {
	answer := httptest.NewRecorder()
	held.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(body[:len(body)/2])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestPull(t *testing.T) {
	s := serve(t)
	tag, img := s.push(t, "a/b")
	dir, stage := t.TempDir(), filepath.Join(t.TempDir(), "stage")
	meter, err := pulled(t, New(Config{}, quick()), tag, dir, stage)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, dir, img)
	if meter.Here.Load() != meter.Came.Load() || meter.Came.Load() < 900_000 {
		t.Errorf("%d bytes are here, %d came", meter.Here.Load(), meter.Came.Load())
	}
	if err := Sweep(stage, time.Hour); err != nil {
		t.Error(err)
	}
	nothingIn(t, stage)
	whole(t, dir, img)
}

// Every fault of a registry is an error that says what is wrong, and leaves no half of an image;
// what came by then is not asked for again.
func TestFaults(t *testing.T) {
	blobs := func(turn func(w http.ResponseWriter, r *http.Request, held http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, held http.Handler) {
			if isBlob(r) {
				turn(w, r, held)
				return
			}
			held.ServeHTTP(w, r)
		}
	}
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			for n := 0; n < len(header); n += 2 {
				w.Header().Set(header[n], header[n+1])
			}
			w.WriteHeader(code)
		}
	}
	altered := func(w http.ResponseWriter, r *http.Request, held http.Handler) {
		answer := httptest.NewRecorder()
		held.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		body[len(body)/2]++
		w.Write(body)
	}
	slowly := func(w http.ResponseWriter, r *http.Request, held http.Handler) {
		answer := httptest.NewRecorder()
		held.ServeHTTP(answer, r)
		if size := answer.Body.Len(); size < 100_000 { // the configuration, which is here at once
			w.Write(answer.Body.Bytes())
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
		for n := 0; n < 1000 && r.Context().Err() == nil; n++ {
			w.Write(make([]byte, 10))
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond) // 1 kB/s
		}
	}
	tests := map[string]struct {
		turn func(http.ResponseWriter, *http.Request, http.Handler)
		want string
		hint string
		most int32 // requests
		down bool

		hasty bool
	}{
		"401":                    {status(401, "WWW-Authenticate", `Basic realm="x"`), "401", "docker login", 3, false, false},
		"403 of a blob":          {blobs(status(403)), "403", "docker login", 12, false, false},
		"404":                    {status(404), "404", "registries.yaml", 4, false, false},
		"404 of a blob":          {blobs(status(404)), "404", "registries.yaml", 12, false, false},
		"429 for an hour":        {status(429, "Retry-After", "3600"), "429", "mirror", 4, false, false},
		"429 for ever":           {status(429, "Retry-After", "0"), "429", "mirror", 9, false, false},
		"500":                    {status(500), "500", "", 4, false, false},
		"500 of a blob":          {blobs(status(500)), "500", "", 20, false, false},
		"half of a blob":         {blobs(cut), "unexpected EOF", "", 20, false, false},
		"wrong digest":           {blobs(altered), "its digest is sha256:", "", 12, false, false},
		"slow":                   {blobs(slowly), "too slow", "", 12, false, true},
		"no answer":              {func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }, "cannot be reached: ", "proxies", 2, true, true},
		"no answer to a blob":    {blobs(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }), "timeout awaiting response headers", "", 12, false, true},
		"no answer to its image": {onlyPing, "timeout awaiting response headers", "", 4, false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			tag, img := s.push(t, "a/b")
			s.misbehave(test.turn)
			dir, stage := t.TempDir(), filepath.Join(t.TempDir(), "stage")
			limits := quick()
			if test.hasty {
				limits = hasty()
			}
			if test.down {
				limits = unreachable()
			}
			_, err := pulled(t, New(Config{}, limits), tag, dir, stage)
			var refusal Unavailable
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") || refusal.Down != test.down {
				t.Fatalf("it is refused with %v, want %q", err, test.want)
			}
			if !strings.Contains(refusal.Hint(), test.hint) {
				t.Errorf("the hint is %q, want %q", refusal.Hint(), test.hint)
			}
			if n := s.asked.Load(); n > test.most {
				t.Errorf("%d requests, at most %d wanted", n, test.most)
			}
			nothingIn(t, dir)
			s.misbehave(nil)
			if _, err := pulled(t, New(Config{}, quick()), tag, dir, stage); err != nil {
				t.Fatalf("the next time: %v", err)
			}
			whole(t, dir, img)
		})
	}
}

func onlyPing(w http.ResponseWriter, r *http.Request, held http.Handler) {
	if r.URL.Path == "/v2/" {
		held.ServeHTTP(w, r)
		return
	}
	<-r.Context().Done()
}

// A registry that asks to come back soon is asked again then, and one that fails once is too.
func TestPatience(t *testing.T) {
	for name, turn := range map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"429": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"500": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusInternalServerError)
		},
		"half": cut,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			tag, img := s.push(t, "a/b")
			var once sync.Map
			s.misbehave(func(w http.ResponseWriter, r *http.Request, held http.Handler) {
				if _, again := once.LoadOrStore(r.URL.Path, true); isBlob(r) && !again {
					turn(w, r, held)
					return
				}
				held.ServeHTTP(w, r)
			})
			dir := t.TempDir()
			meter, err := pulled(t, New(Config{}, quick()), tag, dir, filepath.Join(t.TempDir(), "stage"))
			if err != nil {
				t.Fatal(err)
			}
			whole(t, dir, img)
			if meter.Here.Load() != meter.Came.Load() {
				t.Errorf("%d bytes came for %d: a blob was not gone on with", meter.Came.Load(), meter.Here.Load())
			}
		})
	}
}

// What came before a pull ended is not asked for again by the next one.
func TestResume(t *testing.T) {
	s := serve(t)
	tag, img := s.push(t, "a/b")
	s.misbehave(func(w http.ResponseWriter, r *http.Request, held http.Handler) {
		if isBlob(r) {
			cut(w, r, held)
			return
		}
		held.ServeHTTP(w, r)
	})
	dir, stage := t.TempDir(), filepath.Join(t.TempDir(), "stage")
	limits := quick()
	limits.Retries = 0
	first, err := pulled(t, New(Config{}, limits), tag, dir, stage)
	if err == nil || first.Came.Load() == 0 {
		t.Fatalf("%d bytes came, %v", first.Came.Load(), err)
	}
	if err := Sweep(stage, time.Hour); err != nil {
		t.Fatal(err)
	}
	s.misbehave(nil)
	second, err := pulled(t, New(Config{}, limits), tag, dir, stage)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, dir, img)
	if first.Came.Load()+second.Came.Load() != second.Here.Load() {
		t.Errorf("%d and %d bytes came for %d", first.Came.Load(), second.Came.Load(), second.Here.Load())
	}
}

// A blob that was damaged where it was kept is pulled again.
func TestStageDamaged(t *testing.T) {
	s := serve(t)
	tag, img := s.push(t, "a/b")
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	dir, stage := t.TempDir(), t.TempDir()
	for n, l := range layers[:2] {
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		size, err := l.Size()
		if err != nil {
			t.Fatal(err)
		}
		damaged := make([]byte, size+int64(n)) // one of the right size, one that is too long
		if err := os.WriteFile(filepath.Join(stage, digest.Hex), damaged, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pulled(t, New(Config{}, quick()), tag, dir, stage); err != nil {
		t.Fatal(err)
	}
	whole(t, dir, img)
}

// A full disk is this machine's fault: no other registry is asked, what came is kept, and the hint
// says where room is needed.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small file system")
	}
	s := serve(t)
	tag, img := s.push(t, "a/b")
	stage := t.TempDir()
	if err := unix.Mount("tmpfs", stage, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("no mounts here: ", err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			if err := unix.Unmount(stage, 0); err != nil {
				t.Error(err)
			}
		}
		mounted = false
	}
	t.Cleanup(unmount)
	dir := t.TempDir()
	_, err := pulled(t, New(Config{}, quick()), tag, dir, stage)
	var refusal Unavailable
	if !errors.Is(err, unix.ENOSPC) || errors.As(err, &refusal) || !strings.Contains(strings.Join(hint.Of(err), " "), "make room in "+stage) {
		t.Errorf("a full disk gives %v, %q", err, hint.Of(err))
	}
	nothingIn(t, dir)
	unmount()
	if _, err := pulled(t, New(Config{}, quick()), tag, dir, stage); err != nil {
		t.Fatal(err)
	}
	whole(t, dir, img)
}

// An index without this platform, and an image for another one, are refused.
func TestPlatform(t *testing.T) {
	s := serve(t)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	if err := remote.WriteIndex(s.tag(t, "a/index"), index); err != nil {
		t.Fatal(err)
	}
	other, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "s390x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(s.tag(t, "a/image"), other); err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]string{"a/index": "no child with platform linux/" + here.Architecture, "a/image": "is for linux/s390x"} {
		dir := t.TempDir()
		_, err := pulled(t, New(Config{}, quick()), s.tag(t, repository), dir, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", repository, err, want)
		}
		nothingIn(t, dir)
	}
}

// Mirrors are asked first; one that is down, or lacks the image, or fails half-way, is passed over.
func TestMirrors(t *testing.T) {
	origin, mirror := serve(t), serve(t)
	tag, img := origin.push(t, "a/b")
	gone := serve(t)
	gone.close()
	copied, err := name.NewTag(mirror.host + "/copies/a/b:v1")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(tag)
	if err == nil {
		err = remote.WriteIndex(copied, index)
	}
	if err != nil {
		t.Fatal(err)
	}
	config := Config{Registries: map[string]Host{origin.host: {Mirrors: []string{gone.host, mirror.host, mirror.host + "/copies"}}}}
	origin.asked.Store(0)
	c := New(config, quick())
	found, err := c.Find(t.Context(), tag, here)
	if err != nil || len(found.Skipped) != 2 || !strings.Contains(found.Skipped[0].Error(), gone.host+": ") || !strings.Contains(found.Skipped[1].Error(), "NAME_UNKNOWN") {
		t.Fatalf("passed over were %v, %v", found.Skipped, err)
	}
	mirror.misbehave(func(w http.ResponseWriter, r *http.Request, held http.Handler) { cut(w, r, held) })
	dir := t.TempDir()
	if err := c.Write(t.Context(), found, dir, t.TempDir(), nil, &Meter{}); err != nil {
		t.Fatal(err)
	}
	whole(t, dir, img)
	if origin.asked.Load() == 0 {
		t.Error("a mirror that sends halves has served all of the image")
	}
	origin.close()
	mirror.close()
	_, err = New(config, quick()).Find(t.Context(), tag, here)
	var refusal Unavailable
	if !errors.As(err, &refusal) || !refusal.Down || strings.Count(err.Error(), "connection refused") != 4 {
		t.Errorf("with nobody there: %v", err)
	}
}

// A host that cannot be reached is asked once, however many images are named after it.
func TestUnreachableOnce(t *testing.T) {
	s := serve(t)
	s.misbehave(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() })
	c := New(Config{}, unreachable())
	began := time.Now()
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			var refusal Unavailable
			if _, err := c.Find(t.Context(), s.tag(t, fmt.Sprint("a/", n)), here); !errors.As(err, &refusal) || !refusal.Down {
				t.Errorf("it is refused with %v", err)
			}
		})
	}
	all.Wait()
	// One question is two requests: with and, on loopback, without TLS.
	if took := time.Since(began); s.asked.Load() > 1 || took > 10*time.Second {
		t.Errorf("it was asked %d times in %s", s.asked.Load(), took)
	}
}

// Credentials are those of Docker's configuration.
func TestCredentials(t *testing.T) {
	s := serve(t)
	tag, img := s.push(t, "a/b")
	s.misbehave(func(w http.ResponseWriter, r *http.Request, held http.Handler) {
		if user, password, _ := r.BasicAuth(); user != "alice" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		held.ServeHTTP(w, r)
	})
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	auths := fmt.Sprintf(`{"auths": {%q: {"username": "alice", "password": "secret"}}}`, s.host)
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(auths), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := pulled(t, New(Config{}, quick()), tag, dir, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	whole(t, dir, img)
}

// Without TLS only this machine is asked.
func TestPlainHTTP(t *testing.T) {
	client := patient{http.DefaultTransport, quick()}
	for at, allowed := range map[string]bool{"http://192.0.2.1/v2/": false, "http://registry.lan:5000/v2/": false, "http://127.0.0.1:1/v2/": true, "http://localhost:1/v2/": true, "http://[::1]:1/v2/": true} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.RoundTrip(r)
		cancel()
		if refused := err != nil && strings.Contains(err.Error(), "without TLS"); refused == allowed {
			t.Errorf("%s gives %v", at, err)
		}
	}
}

// A registry with a certificate of its own is asked with the CA of registries.yaml, and not
// without.
func TestCA(t *testing.T) {
	server := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	host := strings.TrimPrefix(server.URL, "https://")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, encoded(server.Certificate().Raw), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(file, []byte("registries:\n  "+host+": {ca: "+ca+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	config, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	at, err := name.NewRepository(host + "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	limits := quick()
	if _, err := New(config, limits).place(t.Context(), at); err != nil {
		t.Errorf("with its CA: %v", err)
	}
	if _, err := New(Config{}, limits).place(t.Context(), at); err == nil {
		t.Error("it was trusted without its CA")
	}
}

func TestLoad(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "registries.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	c, err := Load(write("registries:\n  docker.io: {mirrors: [hub.lan, 'registry.lan:5000/hub']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	of, err := name.NewRepository("busybox")
	if err != nil {
		t.Fatal(err)
	}
	places, err := c.places(of)
	if want := "[hub.lan/library/busybox registry.lan:5000/hub/library/busybox index.docker.io/library/busybox]"; err != nil || fmt.Sprint(places) != want {
		t.Errorf("places are %v, %v; want %s", places, err, want)
	}
	if c, err := Load(filepath.Join(t.TempDir(), "none")); err != nil || len(c.Registries) > 0 {
		t.Errorf("no file: %v, %v", c, err)
	}
	for text, want := range map[string]string{
		"registries: {quay.io: {mirror: [x]}}":                   `unknown field "mirror"`,
		"registries: {'https://quay.io': {}}":                    "without a scheme",
		"registries: {quay.io: {mirrors: ['https://mirror/x']}}": "without a scheme",
		"registries: {quay.io: {ca: /nonexistent}}":              "ca of quay.io",
	} {
		if _, err := Load(write(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", text, err, want)
		}
	}
}

func encoded(certificate []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
}
