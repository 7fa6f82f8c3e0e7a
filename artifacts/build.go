package artifacts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
)

// made is a build together with the component that it belongs to.
type made struct {
	of components.Component
	components.Build
}

// output finds the build of the set that makes "component/output".
func (o obtaining) output(ref string) (made, error) {
	of, b, err := o.set.Output(ref)
	return made{of, b}, err
}

// ownModule is the name of the module that a build runs in.
const ownModule = "netlab.dev/component"

// item is the build's place in the cache. The Go version is that of netlab itself,
// which is known without a toolchain at hand.
func (m made) item() (item, error) {
	source := ""
	if m.Own != "" {
		var err error
		if source, err = keyOfFiles(m.of.Files(), m.Own); err != nil {
			return item{}, fmt.Errorf("%s: %w", m.of.Name, err)
		}
	}
	b := m.Build
	b.Seconds, b.Held = 0, nil // change no output
	return item{inBuilds, m.Name, keyOf(b, m.version(), m.of.Version, source, runtime.Version(), runtime.GOARCH)}, nil
}

// what is what an ingredient of its programs is called.
func (m made) what() string { return whatBuild + m.Name + " " + m.version() }

// version is that of the build's module.
func (m made) version() string {
	if m.Version != "" {
		return m.Version
	}
	return m.of.Version
}

// goMod writes the go.mod of a build. Its pins are fixed, so minimal version
// selection always gives the same set.
func (m made) goMod() string {
	var b strings.Builder
	fmt.Fprintf(&b, "module %s\n\ngo %s\n\n", ownModule, goVersion)
	if m.Module != "" {
		fmt.Fprintf(&b, "require %s %s\n", m.Module, m.version())
	}
	for _, v := range slices.Sorted(maps.Keys(m.Requires)) {
		for _, module := range m.Requires[v] {
			fmt.Fprintf(&b, "require %s %s\n", module, v)
		}
	}
	for _, module := range slices.Sorted(maps.Keys(m.Replaces)) {
		fmt.Fprintf(&b, "replace %s => %s\n", module, m.Replaces[module])
	}
	if len(m.Edits) > 0 {
		fmt.Fprintf(&b, "replace %s => %s\n", m.Module, editedModule)
	}
	return b.String()
}

// editedModule is the directory of an edited copy of a module, next to go.mod. (Go's
// -overlay would do without a copy, and refuses files of the module cache.)
const editedModule = "./module"

// build returns the directory of a build's outputs, in bin/.
func (o obtaining) build(ctx context.Context, m made) (string, error) {
	i, err := m.item()
	if err != nil {
		return "", err
	}
	return o.keep(ctx, i, func(dir string, rec *record) error {
		if err := o.takeHeld(ctx, m, dir, rec); !errors.Is(err, errNotHere) {
			return err
		}
		name := "build " + m.Name
		if m.Module != "" {
			name += " " + m.of.Version
		}
		if err := o.mayBuild(m.Name + " " + m.version()); err != nil {
			return err
		}
		done := o.step(name)
		err := o.goBuild(ctx, m, i, dir)
		done(err)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// undescribed leaves out debug information, which the linker would drop anyway (-s -w). It is
// a sixth of the compiler's work.
const undescribed = "-gcflags=all=-dwarf=false"

// lessCollecting lets the compiler and the linker keep more garbage, up to a bound: an
// eighth of their work, for half as much memory again.
var lessCollecting = []string{"GOGC=400", "GOMEMLIMIT=2GiB"}

func (o obtaining) goBuild(ctx context.Context, m made, i item, dir string) (err error) {
	if err := lacksGo(); err != nil {
		return err
	}
	// The compiler's temporary files are here too, so that sweep removes those of a killed build.
	bin, source, scratch := filepath.Join(dir, "bin"), filepath.Join(dir, "source"), filepath.Join(dir, "scratch")
	for _, d := range []string{bin, source, scratch} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Join(dir, "source")), os.RemoveAll(scratch)) }()
	sums, err := m.sums()
	if err != nil {
		return err
	}
	module := ""
	if m.Module != "" && (m.Inside || len(m.Edits) > 0) {
		if module, err = m.moduleDir(ctx); err != nil {
			return err
		}
	}
	if m.Inside {
		source = module
	} else if err := errors.Join(m.sources(source, module), writeSums(source, sums)); err != nil {
		return err
	}
	g := tool{dir: source, log: o.log(i), env: append([]string{"CGO_ENABLED=" + m.cgo(), "GOFLAGS=-mod=readonly -buildvcs=false",
		"GOWORK=off", "GOOS=linux", "GOTMPDIR=" + scratch}, lessCollecting...)}
	if err := m.compile(ctx, g, bin, sums); err != nil {
		return m.explained(err)
	}
	for name, of := range m.Links {
		if err := os.Symlink(of, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return nil
}

// compile runs Go in the source directory of a build.
func (m made) compile(ctx context.Context, g tool, bin string, sums []string) error {
	if m.Module != "" && !m.Inside {
		if err := m.resolve(ctx, g, sums); err != nil {
			return err
		}
	}
	for _, args := range m.invocations(bin) {
		g.argv = slices.Concat([]string{"go", "build", "-trimpath", undescribed}, args)
		if err := g.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sources fills the source directory of a build: our own files, and what lay writes.
func (m made) sources(source, module string) error {
	if m.Own != "" {
		own, err := fs.Sub(m.of.Files(), m.Own)
		if err != nil {
			return err
		}
		if err := os.CopyFS(source, own); err != nil {
			return err
		}
	}
	return m.lay(source, module)
}

// lay writes the go.mod of a build into its source directory, those of the directories
// that stand for other modules, and the edited copy of its module.
func (m made) lay(source, module string) error {
	mods := map[string]string{"": m.goMod()}
	for replaced, by := range m.Replaces {
		if strings.HasPrefix(by, "./") {
			mods[by] = "module " + replaced + "\n\ngo " + goVersion + "\n"
		}
	}
	for dir, text := range mods {
		if err := os.WriteFile(filepath.Join(source, dir, "go.mod"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if len(m.Edits) == 0 {
		return nil
	}
	to := filepath.Join(source, editedModule)
	if err := os.CopyFS(to, os.DirFS(module)); err != nil {
		return err
	}
	for file, edits := range m.Edits {
		if err := editFile(filepath.Join(to, file), edits); err != nil {
			return fmt.Errorf("edit %s of %s: %w", file, m.Module, err)
		}
	}
	return nil
}

func editFile(path string, edits []components.Edit) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, e := range edits {
		if text, err = edit(text, e); err != nil {
			return err
		}
	}
	return os.WriteFile(path, text, 0o644)
}

// cgo is the build's CGO_ENABLED.
func (m made) cgo() string {
	if m.CGO {
		return "1"
	}
	return "0"
}

// tags are Go's arguments for the build's tags.
func (m made) tags() []string {
	if len(m.Tags) == 0 {
		return nil
	}
	return []string{"-tags", strings.Join(m.Tags, ",")}
}

// invocations returns the arguments of each `go build`: packages whose output has the
// package's name are built together, every other package separately.
func (m made) invocations(bin string) [][]string {
	common := m.tags()
	if m.LDFlags != "" {
		common = append(common, "-ldflags", m.of.Expanded(m.LDFlags))
	}
	together := append(slices.Clone(common), "-o", bin+"/")
	var all [][]string
	count := 0
	for _, output := range slices.Sorted(maps.Keys(m.Packages)) {
		pkg := m.Packages[output]
		if path.Base(pkg) == output {
			together = append(together, pkg)
			count++
		} else {
			all = append(all, append(slices.Clone(common), "-o", filepath.Join(bin, output), pkg))
		}
	}
	if count > 0 {
		all = append(all, together)
	}
	return all
}

// moduleDir downloads the module of a build and returns its read-only directory in Go's module
// cache. Its hash is the one that is kept for the build; without one only the checksum database
// has checked it.
func (m made) moduleDir(ctx context.Context) (string, error) {
	module := m.Module + "@" + m.version()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	// On an error it exits with 1 and writes the reason to its output.
	var got struct{ Dir, Sum, Error string }
	kept := m.sum()
	switch jsonErr := json.Unmarshal(out, &got); {
	case got.Error != "":
		return "", fmt.Errorf("download %s: %s", module, got.Error)
	case err != nil || jsonErr != nil:
		return "", fmt.Errorf("download %s: %w", module, errors.Join(err, jsonErr))
	case kept != "" && got.Sum != kept:
		return "", hint.With(fmt.Errorf("download %s: checksum mismatch: it is %s, in %s it is %s", module, got.Sum, m.kept(), kept), otherModule)
	}
	return got.Dir, nil
}

// copyTree copies a file or directory; the copies are writable, and executables stay executable.
func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644|info.Mode().Perm()&0o111)
}
