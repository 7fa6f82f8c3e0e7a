package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
)

// DownResult is the result of Down.
type DownResult struct {
	Found    bool     // the lab, or parts of it, existed
	Unmerged []string // kubeconfigs that it was removed from
}

// Down removes a lab and everything it made, with its state or without.
func (e Engine) Down(ctx context.Context, lab labs.Name) (result DownResult, err error) {
	release, err := e.Root.Lock(lab, false)
	if err != nil {
		return result, err
	}
	defer release()
	makers, err := e.makers(lab)
	if err != nil {
		return result, err
	}
	if result.Found, err = e.left(lab); err != nil {
		return result, err
	}
	result.Unmerged, err = e.Unmerge(lab)
	if err := errors.Join(err, providers.Down(ctx, e.Root, lab, makers...)); err != nil {
		return result, err
	}
	return result, e.Owners.Remove(lab)
}

// makers returns the providers that may have created a lab. The state names it, also one that
// another version of netlab wrote; without a state every provider removes what it finds, in
// the order that Providers explains.
func (e Engine) makers(lab labs.Name) ([]providers.Provider, error) {
	state, err := e.Root.Read(lab)
	var other *providers.VersionError
	if err == nil || errors.As(err, &other) {
		p, unknown := e.provider(state.Plan.Provider)
		if unknown == nil {
			return []providers.Provider{p}, nil
		}
		if err == nil {
			return nil, unknown
		}
	}
	var all []providers.Provider
	for _, p := range slices.Backward(e.Providers) {
		all = append(all, p.Provider)
	}
	return all, nil
}

// left reports whether any part of a lab exists. A lab of another machine or state directory is
// refused.
func (e Engine) left(lab labs.Name) (bool, error) {
	if e.Root.Marked(lab) {
		return true, nil
	}
	if err := e.elsewhere(lab); err != nil {
		return false, err
	}
	found, err := e.All()
	return err == nil && slices.Contains(found, lab), nil
}

// All lists every lab of this machine, by state and by label. Labs of other state directories, and
// those of other machines that have Nodes here, are left out.
func (e Engine) All() ([]labs.Name, error) {
	names, err := e.found()
	return slices.DeleteFunc(names, func(lab labs.Name) bool {
		_, known := e.Owners.Other(lab, e.Root)
		return known && !e.Root.Marked(lab)
	}), err
}

// found is All with the labs of other state directories.
func (e Engine) found() ([]labs.Name, error) {
	names, err := e.Root.Labs()
	parts, lost := e.parts()
	return sorted(append(names, parts...)), errors.Join(err, lost)
}

// parts lists the labs of which something besides their state exists on this machine.
func (e Engine) parts() (names []labs.Name, err error) {
	for _, p := range e.Providers {
		if finder, ok := p.Provider.(providers.Finder); ok {
			found, ferr := finder.Find()
			names, err = append(names, found...), errors.Join(err, ferr)
		}
	}
	return slices.DeleteFunc(names, func(lab labs.Name) bool { return local.Guest(local.GuestsDir, lab) }), err
}

// refuseStranger returns an error if parts of a lab of this name exist without a state in our
// state directory: the lab belongs to another state directory, or its state was lost.
func (e Engine) refuseStranger(lab labs.Name) error {
	if err := e.Root.Free(lab); err != nil {
		return err
	}
	if err := e.elsewhere(lab); err != nil {
		return err
	}
	names, err := e.All()
	switch {
	case err != nil || !slices.Contains(names, lab):
		return err
	}
	return hint.With(fmt.Errorf("parts of lab %s exist on this machine, but %s has no state of it", lab, e.Root),
		fmt.Sprintf("`netlab down %s` removes them; or rename the lab, or set NETLAB_STATE_DIR to its state directory", lab))
}

// elsewhere returns an error if a lab belongs to another machine or to another state directory, and
// not to ours.
func (e Engine) elsewhere(lab labs.Name) error {
	if local.Guest(local.GuestsDir, lab) {
		return refuseGuest(lab)
	}
	if other, known := e.Owners.Other(lab, e.Root); known {
		return hint.With(fmt.Errorf("lab %s belongs to the state directory %s", lab, other),
			fmt.Sprintf("`NETLAB_STATE_DIR='%s' netlab down %s` removes it; to create another lab, choose another name", other, lab))
	}
	return nil
}

// refuseGuest returns the error for a lab of another machine that has Nodes here.
func refuseGuest(lab labs.Name) error {
	return hint.With(fmt.Errorf("lab %s belongs to another machine and has Nodes on this machine's hypervisor", lab),
		fmt.Sprintf("`netlab down %s` on that machine removes it; if that machine no longer exists, remove %s first; to create another lab, choose another name",
			lab, filepath.Join(local.GuestsDir, lab.Label())))
}
