package artifacts

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
)

var update = flag.Bool("update", false, "write the hashes of modules that builds need into components/*/*/*.sum")

// The hashes of every build's modules are kept, as far as can be known without the module proxy:
// those of the modules that its recipe names.
func TestSums(t *testing.T) {
	parts, _ := load(t).Sets()
	used := map[string]bool{}
	for _, k := range parts {
		for _, b := range k.Builds {
			m := made{k, b}
			if m.Module == "" {
				continue
			}
			file := m.sumsPath()
			used[file] = true
			t.Run(k.Name+"/"+k.Version+"/"+b.Name, func(t *testing.T) {
				if *update {
					if err := os.WriteFile(file, []byte(strings.Join(m.needed(t), "\n")+"\n"), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				sums, err := m.sums()
				if err != nil {
					t.Fatalf("%v; update it: go test ./artifacts -run 'TestSums/%s/%s' -update", err, k.Name, k.Version)
				}
				for _, named := range m.named() {
					if !slices.ContainsFunc(sums, func(line string) bool { return strings.HasPrefix(line, named+"/go.mod h1:") }) {
						t.Errorf("%s keeps no hash of %s: go test ./artifacts -run 'TestSums/%s/%s' -update", file, named, k.Name, k.Version)
					}
				}
				if !slices.IsSorted(sums) || len(slices.Compact(slices.Clone(sums))) != len(sums) {
					t.Errorf("%s is not sorted, or names a module twice", file)
				}
			})
		}
	}
	alone, err := filepath.Glob("../components/*/*.sum")
	kept, errKept := filepath.Glob("../components/*/*/*.sum")
	if err := errors.Join(err, errKept); err != nil || len(kept) == 0 {
		t.Fatal(kept, err)
	}
	for _, file := range append(kept, alone...) {
		if !used[file] {
			t.Errorf("%s is of no build", file)
		}
	}
}

// sumsPath is where the hashes are kept: in the version's folder, if it has one.
func (m made) sumsPath() string {
	dir := filepath.Join("../components", m.of.Name, m.of.Version)
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, m.sumsFile())
}

// named are the modules that a build's recipe names, as "path version". Inside a module there are no others.
func (m made) named() []string {
	all := []string{m.Module + " " + m.version()}
	if m.Inside || len(m.Packages) == 0 {
		return all
	}
	for version, modules := range m.Requires {
		for _, path := range modules {
			all = append(all, path+" "+version)
		}
	}
	return all
}

// needed are the hashes that a build needs, on every architecture, from the module proxy and checked by
// the checksum database whatever the user's settings are.
func (m made) needed(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	run := func(argv ...string) []byte {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+m.cgo(), "GOFLAGS=", "GOWORK=off", "GOOS=linux", "GOSUMDB=sum.golang.org", "GONOSUMDB=none")
		var says bytes.Buffer
		cmd.Stderr = &says
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, out, says.String())
		}
		if strings.Contains(says.String(), "finding module for package") { // its version would be the latest of that day
			t.Fatalf("a module is not pinned; add it to requires:\n%s", says.String())
		}
		return out
	}
	var own struct{ Dir, Sum, GoModSum string }
	if err := json.Unmarshal(run("go", "mod", "download", "-json", m.Module+"@"+m.version()), &own); err != nil {
		t.Fatal(err)
	}
	name := m.Module + " " + m.version()
	sums := []string{name + " " + own.Sum, name + "/go.mod " + own.GoModSum}
	if !m.Inside && len(m.Packages) > 0 {
		if err := m.sources(dir, own.Dir); err != nil {
			t.Fatal(err)
		}
		var packages []string
		for _, p := range m.Packages {
			packages = append(packages, p)
		}
		for _, arch := range []string{"amd64", "arm64"} {
			run(slices.Concat([]string{"env", "GOARCH=" + arch, "go", "list", "-mod=mod", "-deps"}, m.tags(), packages)...)
		}
		text, err := os.ReadFile(filepath.Join(dir, "go.sum"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	}
	slices.Sort(sums)
	return slices.Compact(sums)
}

// published are Go modules by "path version": their files.
type published map[string]map[string]string

// serve starts a module proxy on loopback and sets it as GOPROXY, with an empty module cache; the
// checksum database is off, as far as a user can switch it off.
func (p published) serve(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for name, files := range p {
		m := p.version(name)
		at := filepath.Join(dir, m.Path, "@v", m.Version)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		for suffix, text := range map[string][]byte{".info": fmt.Appendf(nil, `{"Version":%q}`, m.Version), ".mod": []byte(files["go.mod"]), ".zip": p.zip(t, name)} {
			err = errors.Join(err, os.WriteFile(at+suffix, text, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	cache := filepath.Join(t.TempDir(), "mod")
	t.Cleanup(func() { // its directories are read-only
		_ = filepath.WalkDir(cache, func(path string, _ fs.DirEntry, _ error) error { return os.Chmod(path, 0o755) })
	})
	for name, value := range map[string]string{"GOPROXY": server.URL, "GOMODCACHE": cache, "GOSUMDB": "off", "GONOSUMDB": "*", "GOINSECURE": "*",
		"GONOPROXY": "none", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"} {
		t.Setenv(name, value)
	}
}

func (published) version(name string) module.Version {
	path, version, _ := strings.Cut(name, " ")
	return module.Version{Path: path, Version: version}
}

func (p published) zip(t *testing.T, name string) []byte {
	t.Helper()
	dir, out := t.TempDir(), bytes.Buffer{}
	for file, text := range p[name] {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := modzip.CreateFromDir(&out, p.version(name), dir); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sums are the lines of go.sum for all of the modules.
func (p published) sums(t *testing.T) (lines []string) {
	t.Helper()
	for name, files := range p {
		file := filepath.Join(t.TempDir(), "x.zip")
		if err := os.WriteFile(file, p.zip(t, name), 0o644); err != nil {
			t.Fatal(err)
		}
		all, err := dirhash.HashZip(file, dirhash.Hash1)
		if err != nil {
			t.Fatal(err)
		}
		mod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(files["go.mod"])), nil })
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, name+" "+all, name+"/go.mod "+mod)
	}
	slices.Sort(lines)
	return lines
}

// with are the same modules with another text in place of one.
func (p published) with(old, put string) published {
	changed := published{}
	for name, files := range p {
		changed[name] = map[string]string{}
		for file, text := range files {
			changed[name][file] = strings.ReplaceAll(text, old, put)
		}
	}
	return changed
}

// A build with a module that has another hash than the one that is kept, or none that is kept, is
// refused, whatever the user has Go believe.
func TestOtherModulesAreRefused(t *testing.T) {
	needs(t, "go")
	const upstream, dependency = "example.com/upstream v1.0.0", "example.com/dependency v1.1.0"
	modules := published{
		upstream: {"go.mod": "module example.com/upstream\n\ngo 1.26.0\n\nrequire example.com/dependency v1.1.0\n",
			"main.go": "package main\n\nimport \"example.com/dependency\"\n\nfunc main() { println(dependency.Says) }\n"},
		dependency: {"go.mod": "module example.com/dependency\n\ngo 1.26.0\n", "says.go": "package dependency\n\nconst Says = \"as published\"\n"},
	}
	sums := modules.sums(t)
	// With a go.sum of its own upstream can be built in its own directory: the hash of its files is enough.
	whole := modules.with("", "")
	whole[upstream]["go.sum"] = strings.Join(sums, "\n") + "\n"
	alone := slices.DeleteFunc(whole.sums(t), func(line string) bool { return !strings.HasPrefix(line, "example.com/upstream") })
	builds := map[string]struct {
		recipe  string
		modules published
		sums    []string
	}{
		"upstream's program":        {"packages: {prog: example.com/upstream}", modules, sums},
		"our program":               {"own: _src, requires: {v1.1.0: [example.com/dependency]}, packages: {prog: .}", modules, sums},
		"an edited module":          {"edits: {main.go: [{find: 'package main', put: '$0 // edited'}]}, packages: {prog: example.com/upstream}", modules, sums},
		"in upstream's own sources": {"inside: true, packages: {prog: ./}", whole, alone},
	}
	for name, b := range builds {
		try := func(t *testing.T, served published, sums []string) error {
			t.Helper()
			served.serve(t)
			files := fstest.MapFS{"k/component.yaml": {Data: []byte("kind: base\nversion: v1\nabout: a\nsource: b\nbuilds:\n" +
				"  - {name: prog, module: example.com/upstream, version: v1.0.0, " + b.recipe + "}\n")},
				"k/_src/main.go": {Data: []byte("package main\n\nimport \"example.com/dependency\"\n\nfunc main() { println(dependency.Says) }\n")}}
			if sums != nil {
				files["k/prog.sum"] = &fstest.MapFile{Data: []byte(strings.Join(sums, "\n") + "\n")}
			}
			c, err := components.Read(files)
			if err != nil {
				t.Fatal(err)
			}
			o := obtaining{Cache: Cache{Dir: t.TempDir(), Sources: AllSources()}, step: quiet}
			dir, err := o.build(t.Context(), made{c["k"][0], c["k"][0].Builds[0]})
			if err != nil {
				if left, _ := os.ReadDir(filepath.Join(o.Dir, inBuilds)); len(left) > 0 {
					t.Errorf("it is kept in the cache: %v", left)
				}
				return err
			}
			if out, err := exec.Command(filepath.Join(dir, "bin", "prog")).CombinedOutput(); err != nil || string(out) != "as published\n" {
				t.Errorf("it says %q, %v", out, err)
			}
			return nil
		}
		refused := func(t *testing.T, err error, want, advice string) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("it gives %v, want %q", err, want)
			}
			if hints := strings.Join(hint.Of(err), "\n"); !strings.Contains(hints, advice) {
				t.Errorf("hints are %q, want %q", hints, advice)
			}
		}
		t.Run(name, func(t *testing.T) {
			t.Run("as published", func(t *testing.T) {
				if err := try(t, b.modules, b.sums); err != nil {
					t.Errorf("%v\n%s", err, strings.Join(hint.Of(err), "\n"))
				}
			})
			for what, served := range map[string]published{
				"upstream altered":     b.modules.with("println(", "println(`altered ` + "),
				"a dependency altered": b.modules.with("as published", "something else"),
			} {
				if what == "upstream altered" && strings.Contains(b.recipe, "own:") {
					continue // nothing of it is built
				}
				t.Run(what, func(t *testing.T) { refused(t, try(t, served, b.sums), "checksum mismatch", "look at GOPROXY") })
			}
			t.Run("no hash", func(t *testing.T) {
				lacking := "example.com/dependency v1.1.0 "
				if len(b.sums) == len(alone) {
					lacking = "example.com/upstream v1.0.0 "
				}
				sums := slices.DeleteFunc(slices.Clone(b.sums), func(line string) bool { return strings.HasPrefix(line, lacking) })
				refused(t, try(t, b.modules, sums), "prog.sum of k v1", "-update")
			})
			t.Run("no file", func(t *testing.T) {
				refused(t, try(t, b.modules, nil), "no prog.sum of k v1", "-update")
			})
		})
	}
}
