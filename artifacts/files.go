package artifacts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/mod/module"
	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/internal/hint"
)

// fromModule is the origin of what was taken out of a Go module.
const fromModule = "module proxy"

// filesItem is the place in the cache of the files that a build copies from its module: charts and
// the like. They are apart from its programs, since nothing is compiled for them.
func (m made) filesItem() item {
	return item{inModules, m.Name, keyOf(m.Module, m.version(), m.Copies)}
}

// whatFiles is what an ingredient of its files is called.
func (m made) whatFiles() string { return whatFiles + m.Name + " " + m.version() }

// files returns the directory of the files that a build copies from its module, in files/: without
// Go, from a module proxy.
func (o obtaining) files(ctx context.Context, m made) (string, error) {
	i := m.filesItem()
	return o.keep(ctx, i, func(dir string, rec *record) (err error) {
		to := filepath.Join(dir, "files")
		// Builds of earlier versions of netlab kept them beside their programs.
		if built, err := m.item(); err == nil {
			if _, cached := o.have(built); cached && hasAll(filepath.Join(o.path(built), "files"), m) {
				return copyTree(filepath.Join(o.path(built), "files"), to)
			}
		}
		of := module.Version{Path: m.Module, Version: m.version()}
		if o.offline() {
			return hint.With(fmt.Errorf("files of %s are not in the cache, and netlab is offline", of), "import a bundle, or run without --offline")
		}
		name := "download files of " + of.String()
		done, now := o.changing(name)
		defer func() { done(err) }()
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		rec.From = fromModule
		got := func(here, all int64) {
			if all > 0 {
				now(fmt.Sprintf("%s: %s of %s", name, inMB(here), inMB(all)))
			}
		}
		err = o.modules.Fetch(ctx, of, m.sum(), m.Copies, to, got)
		if _, noGo := exec.LookPath("go"); err == nil || ctx.Err() != nil || noGo != nil || !slices.Contains(o.Sources, Build) {
			return err
		}
		// Go itself may have it: in its cache, or from version control.
		from, goErr := m.moduleDir(ctx)
		if goErr != nil {
			return errors.Join(err, goErr)
		}
		if err := errors.Join(os.RemoveAll(to), os.Mkdir(to, 0o755)); err != nil {
			return err
		}
		for name, path := range m.Copies {
			if err := copyTree(filepath.Join(from, path), filepath.Join(to, name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// hasAll reports whether a directory has all copies of a build.
func hasAll(dir string, m made) bool {
	for name := range m.Copies {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// downloadFiles obtains the files of modules that some sets are installed from.
func downloadFiles(ctx context.Context, jobs []job) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, j := range jobs {
		for _, k := range j.parts {
			for _, ref := range k.Copies() {
				of, b, _, err := j.set.Copied(ref)
				if err != nil {
					return err
				}
				group.Go(func() error {
					_, err := j.files(ctx, made{of, b})
					return err
				})
			}
		}
	}
	return group.Wait()
}
