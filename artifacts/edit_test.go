package artifacts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
)

// Upstream's template is changed where Debian's nginx differs; each edit has to find
// its place in the pinned version, and nothing that 1.22 refuses may be left.
func TestEditsOfTheNginxTemplate(t *testing.T) {
	set := quickstart(t)
	needs(t, "go")
	k, _ := set.Of(components.KindIngress)
	for _, i := range k.Images {
		for _, f := range i.Files {
			if len(f.Edits) == 0 {
				continue
			}
			_, b, rest, err := set.Copied(f.Copy)
			if err != nil {
				t.Fatal(err)
			}
			module, err := made{k, b}.moduleDir(t.Context())
			if err != nil {
				t.Skipf("needs the Go module proxy: %v", err)
			}
			name, below, _ := strings.Cut(rest, "/")
			text, err := os.ReadFile(filepath.Join(module, b.Copies[name], below))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range f.Edits {
				if text, err = edit(text, e); err != nil {
					t.Fatal(err)
				}
			}
			for _, refused := range []string{"http2 on;", "tcp_udp_balancer", "lua_add_variable"} {
				if strings.Contains(string(text), refused) {
					t.Errorf("%s still says %s", f.To, refused)
				}
			}
			if !strings.Contains(string(text), "error_log {{ $cfg.ErrorLogPath }}") {
				t.Errorf("%s lost its variables", f.To)
			}
			return
		}
	}
	t.Error("nothing is edited")
}

func TestEditThatFindsNothing(t *testing.T) {
	if _, err := edit([]byte("http2 on;"), components.Edit{Find: "http3"}); err == nil || !strings.Contains(err.Error(), `"http3"`) {
		t.Errorf("got %v", err)
	}
}

// A build with edits is made from a copy of its module; a module that is replaced by a
// directory gets a go.mod.
func TestBuildFromEditedModule(t *testing.T) {
	module, source := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(module, "go.mod"):    "module example.test/m\n",
		filepath.Join(module, "a/a.go"):    "package a\n\nconst A = old\n",
		filepath.Join(source, "stub/s.go"): "package s\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	m := made{components.Component{Version: "v1"}, components.Build{Module: "example.test/m", Replaces: map[string]string{"example.test/s": "./stub"},
		Edits: map[string][]components.Edit{"a/a.go": {{Find: "old", Put: "1"}}}}}
	if err := m.lay(source, module); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"go.mod":        "replace example.test/m => ./module\n",
		"stub/go.mod":   "module example.test/s\n",
		"module/a/a.go": "const A = 1\n",
	} {
		text, err := os.ReadFile(filepath.Join(source, path))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, %q has no %q", path, err, text, want)
		}
	}
	m.Replaces, m.Edits["a/a.go"][0].Find = nil, "nowhere"
	if err := m.lay(t.TempDir(), module); err == nil || !strings.Contains(err.Error(), `nothing matches "nowhere"`) {
		t.Errorf("an edit that finds nothing: %v", err)
	}
}
