package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/kubeconfig"
)

// Kubeconfig returns a lab's kubeconfig.
func (e Engine) Kubeconfig(lab labs.Name) ([]byte, error) {
	state, err := e.State(lab)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(e.kubeconfig(lab))
	if err != nil {
		return nil, hint.With(err, "the lab has no API server yet; continue with `netlab up "+state.File+"`")
	}
	return data, nil
}

// Merge merges a lab's kubeconfig into the file that kubectl uses, and returns its context.
func (e Engine) Merge(lab labs.Name) (context string, err error) {
	data, err := e.Kubeconfig(lab)
	if err != nil {
		return "", err
	}
	all, into := kubeconfig.Files()
	if into, err = filepath.Abs(into); err != nil {
		return "", err
	}
	// The file is recorded first: `down` looks there, whatever $KUBECONFIG is then.
	if err := e.recordMerge(lab, into); err != nil {
		return "", err
	}
	return kubeconfig.Merge(into, all, lab, data)
}

// kubeconfig is the path of a lab's kubeconfig.
func (e Engine) kubeconfig(lab labs.Name) string {
	return filepath.Join(e.Root.Dir(lab), "kubeconfig")
}

// mergedFile, in a lab's state directory, lists the files that its kubeconfig was merged into.
const mergedFile = "merged"

// merged returns those files.
func (e Engine) merged(lab labs.Name) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(e.Root.Dir(lab), mergedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' }), err
}

func (e Engine) recordMerge(lab labs.Name, file string) error {
	files, err := e.merged(lab)
	if err != nil || slices.Contains(files, file) {
		return err
	}
	return atomicfile.Write(filepath.Join(e.Root.Dir(lab), mergedFile), []byte(strings.Join(append(files, file), "\n")+"\n"), 0o644)
}

// Unmerge removes a lab's entries from the files that it was merged into, and from those that
// kubectl reads now, since the lab's state may be lost. It returns the files that had some.
func (e Engine) Unmerge(lab labs.Name) (taken []string, errs error) {
	files, errs := e.merged(lab)
	now, _ := kubeconfig.Files()
	for i, file := range append(files, now...) {
		found, err := kubeconfig.Unmerge(file, lab)
		if i >= len(files) && !found {
			continue // no record that it was ever merged there
		}
		if err != nil {
			errs = errors.Join(errs, hint.With(fmt.Errorf("remove lab %s from %s: %w", lab, file, err), "fix the file, or remove the lab's context from it by hand"))
		} else if found {
			taken = append(taken, file)
		}
	}
	return taken, errs
}

// remerge updates the files that a lab was merged into: the port of its API server may have
// changed.
func (e Engine) remerge(lab labs.Name) error {
	files, errs := e.merged(lab)
	for _, file := range files {
		if there, err := kubeconfig.Has(file, lab); err != nil || !there {
			errs = errors.Join(errs, err)
			continue // the user removed it
		}
		data, err := os.ReadFile(e.kubeconfig(lab))
		if err == nil {
			_, err = kubeconfig.Merge(file, nil, lab, data)
		}
		errs = errors.Join(errs, err)
	}
	return errs
}
