package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/internal/hint"
)

// The hashes of all modules of a build are kept in its component's folder, in a file that is laid
// next to go.mod as go.sum. Go refuses a module with another hash whatever GOSUMDB, GONOSUMDB
// and GOPRIVATE say, and nothing is built with a module whose hash is not kept. The file is not
// part of a build's key: it changes no output.

// sumsFile is the name of that file.
func (m made) sumsFile() string { return m.Name + ".sum" }

// sums are the lines of go.sum that are kept for a build; a build of our own source alone has none.
func (m made) sums() ([]string, error) {
	if m.Module == "" {
		return nil, nil
	}
	text, err := fs.ReadFile(m.of.Files(), m.sumsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, m.hinted(fmt.Errorf("the hashes of its modules are not kept: no %s", m.kept()))
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if !slices.ContainsFunc(lines, m.isOwn) {
		return nil, m.hinted(fmt.Errorf("%s keeps no hash of %s %s", m.kept(), m.Module, m.version()))
	}
	return lines, nil
}

// isOwn reports whether a line of go.sum has the hash of the build's own module.
func (m made) isOwn(line string) bool { return strings.HasPrefix(line, m.Module+" "+m.version()+" ") }

func writeSums(source string, sums []string) error {
	if len(sums) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(source, "go.sum"), []byte(strings.Join(sums, "\n")+"\n"), 0o644)
}

// kept names the file in messages.
func (m made) kept() string { return fmt.Sprintf("%s of %s %s", m.sumsFile(), m.of.Name, m.of.Version) }

// hinted adds how the file is written.
func (m made) hinted(err error) error {
	return hint.With(err, fmt.Sprintf("in netlab's source `go test ./artifacts -run 'TestSums/%s/%s' -update` writes it", m.of.Name, m.of.Version))
}

// sum is the hash that is kept for the build's own module; "" for none.
func (m made) sum() string {
	lines, err := m.sums()
	if at := slices.IndexFunc(lines, m.isOwn); err == nil && at >= 0 {
		return strings.Fields(lines[at])[2]
	}
	return ""
}

// resolve completes the go.mod that netlab wrote with what the build requires indirectly. What Go adds
// to go.sum meanwhile is not kept, and so is refused.
func (m made) resolve(ctx context.Context, g tool, kept []string) error {
	// The format prints nothing; without it there are thousands of lines for the log.
	g.argv = slices.Concat([]string{"go", "list", "-mod=mod", "-deps", "-f", "{{/**/}}"}, m.tags(), slices.Sorted(maps.Values(m.Packages)))
	if err := g.run(ctx); err != nil {
		return err
	}
	needed, err := os.ReadFile(filepath.Join(g.dir, "go.sum"))
	if err != nil {
		return err
	}
	var lacking []string
	for line := range strings.Lines(string(needed)) {
		if line = strings.TrimSpace(line); !slices.Contains(kept, line) {
			module, _, _ := strings.Cut(line, " h1:")
			lacking = append(lacking, module)
		}
	}
	if len(lacking) > 0 {
		return m.hinted(fmt.Errorf("%s keeps no hash of %s", m.kept(), strings.Join(lacking, ", ")))
	}
	return nil
}

// explained adds to an error of Go what it means for the kept hashes.
func (m made) explained(err error) error {
	var f failure
	switch {
	case !errors.As(err, &f):
		return err
	case strings.Contains(f.tail, "checksum mismatch"):
		return hint.With(fmt.Errorf("a module is not the one whose hash is kept in %s: %w", m.kept(), err), otherModule)
	case strings.Contains(f.tail, "missing go.sum entry"):
		return m.hinted(fmt.Errorf("%s does not keep the hashes of all modules: %w", m.kept(), err))
	}
	return err
}

// otherModule is what to do about a module with another hash.
const otherModule = "look at GOPROXY and at Go's module cache: what they hold is not what everybody else gets"
