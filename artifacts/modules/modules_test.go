package modules

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	modzip "golang.org/x/mod/zip"
)

var charted = module.Version{Path: "example.com/Charted/thing", Version: "v1.2.0"}

// text is a file of a module.
type text struct{ path, content string }

func (f text) Path() string { return f.path }
func (f text) Lstat() (os.FileInfo, error) {
	return fstest.MapFS{"f": {Data: []byte(f.content)}}.Stat("f")
}
func (f text) Open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(f.content)), nil }

// zipped is a module's zip.
func zipped(t *testing.T, files ...text) []byte {
	t.Helper()
	var out bytes.Buffer
	var all []modzip.File
	for _, f := range files {
		all = append(all, f)
	}
	if err := modzip.Create(&out, charted, all); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func good(t *testing.T) []byte {
	return zipped(t, text{"go.mod", "module " + charted.Path + "\n"}, text{"charts/a/Chart.yaml", "name: a\n"},
		text{"charts/a/templates/x.yaml", "kind: X\n"}, text{"charts/ab/Chart.yaml", "name: ab\n"})
}

// goProxy is a module proxy and a checksum database on loopback.
type goProxy struct {
	Settings
	hash  string                 // of the module
	sends atomic.Pointer[[]byte] // as the module; nil: none
	turn  atomic.Pointer[http.HandlerFunc]
}

func newProxy(t *testing.T) *goProxy {
	t.Helper()
	p := &goProxy{}
	archive := good(t)
	p.sends.Store(&archive)
	file := filepath.Join(t.TempDir(), "x.zip")
	if err := os.WriteFile(file, archive, 0o644); err != nil {
		t.Fatal(err)
	}
	hash, err := hashOf(file)
	p.hash = hash
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := note.GenerateKey(nil, "sums.example.com")
	if err != nil {
		t.Fatal(err)
	}
	sums := sumdb.NewServer(sumdb.NewTestServer(private, func(path, version string) ([]byte, error) {
		return []byte(path + " " + version + " " + hash + "\n" + path + " " + version + "/go.mod h1:x\n"), nil
	}))
	const prefix = "/sumdb/sums.example.com"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if turn := p.turn.Load(); turn != nil {
			(*turn)(w, r)
			return
		}
		switch data := p.sends.Load(); {
		case r.URL.Path == prefix+"/supported":
		case strings.HasPrefix(r.URL.Path, prefix):
			http.StripPrefix(prefix, sums).ServeHTTP(w, r)
		case r.URL.Path == "/example.com/!charted/thing/@v/v1.2.0.zip" && data != nil:
			w.Write(*data)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	p.Settings = Settings{Proxies: server.URL, SumDB: public, Known: t.TempDir(), Stall: 20 * time.Second}
	return p
}

func (s Settings) fetched(t *testing.T, copies map[string]string) (string, error) {
	t.Helper()
	return s.fetchedWith(t, "", copies)
}

func (s Settings) fetchedWith(t *testing.T, sum string, copies map[string]string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	return dir, s.Fetch(t.Context(), charted, sum, copies, dir, func(int64, int64) {})
}

func TestFetch(t *testing.T) {
	p := newProxy(t)
	for range 2 { // the second time the tree is known
		dir, err := p.fetched(t, map[string]string{"chart": "charts/a", "one": "charts/ab/Chart.yaml"})
		if err != nil {
			t.Fatal(err)
		}
		for file, want := range map[string]string{"chart/Chart.yaml": "name: a\n", "chart/templates/x.yaml": "kind: X\n", "one": "name: ab\n"} {
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
				t.Errorf("%s is %q, %v", file, got, err)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
			t.Errorf("extracted are %v, %v", left, err)
		}
	}
	// A hash that is given is enough: the checksum database is not asked, and cannot be switched off.
	p.SumDB = "off"
	if _, err := p.fetchedWith(t, p.hash, map[string]string{"chart": "charts/a"}); err != nil {
		t.Error(err)
	}
	dir, err := p.fetchedWith(t, "h1:other", map[string]string{"chart": "charts/a"})
	if err == nil || !strings.Contains(err.Error(), "checksum mismatch: the proxy sent "+p.hash+", netlab keeps h1:other") {
		t.Errorf("with another hash: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if known, err := os.ReadDir(p.Known); err != nil || len(known) != 1 {
		t.Errorf("known of the checksum database is %v, %v", known, err)
	}
}

// What is not the module of the checksum database is refused, and nothing is extracted from it.
func TestRefused(t *testing.T) {
	other := zipped(t, text{"go.mod", "module x\n"}, text{"charts/a/Chart.yaml", "name: other\n"})
	archive := good(t)
	cut := archive[:len(archive)/2]
	status := func(code int) *http.HandlerFunc {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		return &h
	}
	silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	tests := map[string]struct {
		prepare func(*goProxy)
		want    string
	}{
		"another module":    {func(p *goProxy) { p.sends.Store(&other) }, "checksum mismatch"},
		"half of it":        {func(p *goProxy) { p.sends.Store(&cut) }, "zip"},
		"no such module":    {func(p *goProxy) { p.sends.Store(nil) }, "404"},
		"out of order":      {func(p *goProxy) { p.turn.Store(status(503)) }, "503"},
		"silent":            {func(p *goProxy) { p.turn.Store(&silent); p.Stall = 200 * time.Millisecond }, "no data received for 200ms"},
		"no proxy":          {func(p *goProxy) { p.Proxies = "direct" }, "GOPROXY names no module proxy"},
		"off":               {func(p *goProxy) { p.Proxies = "off" }, "GOPROXY is off"},
		"no such directory": {func(*goProxy) {}, "has no charts/none"},
		"another's tree": {func(p *goProxy) {
			_, public, err := note.GenerateKey(nil, "sums.example.com")
			if err != nil {
				panic(err)
			}
			p.SumDB = public
		}, "checksum database sums.example.com"},
		"an unknown database": {func(p *goProxy) { p.SumDB = "sums.example.org" }, "write NAME+KEY"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t)
			test.prepare(p)
			from := "charts/a"
			if name == "no such directory" {
				from = "charts/none"
			}
			dir, err := p.fetched(t, map[string]string{"chart": from})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it gives %v, want %q", err, test.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}

// GOPROXY is a list: after a comma the next one is asked only for what one does not have, after a
// bar always; a directory is a proxy too.
func TestProxies(t *testing.T) {
	p := newProxy(t)
	empty, broken := httptest.NewServer(http.NotFoundHandler()), httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	t.Cleanup(empty.Close)
	t.Cleanup(broken.Close)
	directory := filepath.Join(t.TempDir(), "example.com", "!charted", "thing", "@v")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "v1.2.0.zip"), *p.sends.Load(), 0o644); err != nil {
		t.Fatal(err)
	}
	files := "file://" + filepath.Join(directory, "../../../..")
	for list, works := range map[string]bool{
		empty.URL + "," + p.Proxies:         true,
		broken.URL + "|" + p.Proxies:        true,
		broken.URL + "," + p.Proxies:        false,
		"direct," + p.Proxies:               true,
		"off," + p.Proxies:                  false,
		files + "," + p.Proxies + ",direct": true,
	} {
		s := p.Settings
		s.Proxies = list
		if _, err := s.fetched(t, map[string]string{"chart": "charts/a"}); (err == nil) != works {
			t.Errorf("GOPROXY=%s gives %v", list, err)
		}
	}
	other := zipped(t, text{"go.mod", "module x\n"}, text{"charts/a/Chart.yaml", "name: other\n"})
	p.sends.Store(&other)
	for _, unchecked := range []func(*Settings){func(s *Settings) { s.SumDB = "off" }, func(s *Settings) { s.NoSumDB = "example.com/*" }} {
		s := p.Settings
		unchecked(&s)
		if _, err := s.fetched(t, map[string]string{"chart": "charts/a"}); err != nil {
			t.Errorf("without the checksum database: %v", err)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("GOPROXY=https://written\nGOSUMDB=off\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"GOENV": file, "GOPROXY": "https://set", "GOPRIVATE": "corp.example.com"}
	s := FromEnvironment(func(key string) string { return env[key] }, "")
	if s.Proxies != "https://set" || s.SumDB != "off" || s.NoSumDB != "corp.example.com" {
		t.Errorf("settings are %+v", s)
	}
	s = FromEnvironment(func(key string) string { return map[string]string{"GOENV": "off"}[key] }, "")
	if s.Proxies != defaultProxies || s.SumDB != defaultSumDB {
		t.Errorf("without settings they are %+v", s)
	}
}
