package providers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
)

const (
	// markFile marks a lab's state directory. It is written first and removed last: a directory
	// without it is somebody else's, whatever its name.
	markFile  = ".netlab"
	stateFile = "state.json"
)

// Marked reports whether the state directory of a lab exists and is one: it has netlab's mark, or
// the lab's state, as in labs of earlier versions.
func (r Root) Marked(lab labs.Name) bool {
	if err := lab.Check(); err != nil {
		return false
	}
	if info, err := os.Lstat(filepath.Join(r.Dir(lab), markFile)); err == nil && info.Mode().IsRegular() {
		return true
	}
	data, err := os.ReadFile(filepath.Join(r.Dir(lab), stateFile))
	if err != nil {
		return false
	}
	_, err = outline(data, lab)
	var other *VersionError
	return err == nil || errors.As(err, &other)
}

// Claim makes the state directory of a lab, with the mark. A directory with something in it that
// is not a lab's is refused.
func (r Root) Claim(lab labs.Name) error {
	if err := r.Free(lab); err != nil {
		return err
	}
	dir := r.Dir(lab)
	text := fmt.Sprintf("The state of lab %s. `netlab down %s` removes this directory.\n", lab, lab)
	if _, err := os.Lstat(filepath.Join(dir, markFile)); err == nil {
		return nil
	}
	if r.Marked(lab) { // by its state
		return os.WriteFile(filepath.Join(dir, markFile), []byte(text), 0o600)
	}
	if err := os.MkdirAll(string(r), 0o755); err != nil {
		return fmt.Errorf("create the state directory: %w", err)
	}
	next, err := os.MkdirTemp(string(r), ".claim-*") // its mode is 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(next)
	if err := os.WriteFile(filepath.Join(next, markFile), []byte(text), 0o600); err != nil {
		return err
	}
	return unix.Rename(next, dir) // which, unlike os.Rename, replaces an empty directory
}

// Free returns an error if the state directory of a lab cannot be the lab's: something that is not
// a lab's is in it.
func (r Root) Free(lab labs.Name) error {
	if err := lab.Check(); err != nil {
		return err
	}
	entries, err := os.ReadDir(r.Dir(lab))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 || r.Marked(lab) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s is not the state of a lab: it has files, and no mark of netlab", r.Dir(lab))
	}
	return hint.With(err, "rename the lab, or set NETLAB_STATE_DIR to another directory")
}

// RemoveDir removes a lab's state directory, the state and the mark last, so that what fails can be
// repeated. A directory that is not marked stays; it is an error if a state is in it.
func (r Root) RemoveDir(lab labs.Name) error {
	if err := lab.Check(); err != nil {
		return err
	}
	dir := r.Dir(lab)
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if !r.Marked(lab) {
		if _, err := os.Lstat(filepath.Join(dir, stateFile)); err != nil {
			return nil
		}
		return hint.With(fmt.Errorf("%s is not removed: its %s is not the state of lab %s, and it has no mark of netlab", dir, stateFile, lab), "if it is a lab's, remove it with rm -r")
	}
	var errs error
	for _, e := range entries {
		if e.Name() != markFile && e.Name() != stateFile {
			errs = errors.Join(errs, removeTree(filepath.Join(dir, e.Name())))
		}
	}
	for _, name := range []string{stateFile, markFile, ""} {
		if err := os.Remove(filepath.Join(dir, name)); errs == nil && !errors.Is(err, fs.ErrNotExist) {
			errs = err
		}
		if errs != nil {
			return fmt.Errorf("remove the state of lab %s: %w", lab, errs)
		}
	}
	return nil
}
