package engine

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
)

// Snapshots lists a lab's, the oldest first.
func (e Engine) Snapshots(lab labs.Name) ([]providers.Snapshot, error) {
	s, _, _, err := e.snapshotter(lab)
	if err != nil {
		return nil, err
	}
	return s.Snapshots(e.Root.Dir(lab))
}

// Save saves a running lab under a name; the lab keeps running.
func (e Engine) Save(ctx context.Context, lab labs.Name, name string) error {
	return e.snapshot(lab, name, func(s providers.Snapshotter, state providers.State, _ providers.Provider) error {
		return providers.Save(ctx, e.Root, s, state, name)
	})
}

// Restore restores a lab from a snapshot, whatever its current state.
func (e Engine) Restore(ctx context.Context, lab labs.Name, name string, progress Progress) error {
	return e.snapshot(lab, name, func(s providers.Snapshotter, state providers.State, p providers.Provider) error {
		if err := e.Owners.Set(lab, e.Root); err != nil { // a stopped lab has none
			return err
		}
		if err := providers.Restore(ctx, e.Root, p, s, state, name, progress.Step); err != nil {
			return stopped(ctx, err, fmt.Sprintf("`netlab snapshot restore %s %s` restores it again", lab, name))
		}
		return nil
	})
}

// snapshotName matches names of snapshots, which are file names in the state directory.
var snapshotName = regexp.MustCompile(`^[a-zA-Z0-9][-_.a-zA-Z0-9]{0,62}$`)

// snapshot calls act for a snapshot of a lab, with the lab locked.
func (e Engine) snapshot(lab labs.Name, name string, act func(providers.Snapshotter, providers.State, providers.Provider) error) error {
	if !snapshotName.MatchString(name) {
		return hint.With(fmt.Errorf("snapshot name %q is not valid", name), "use at most 63 letters, digits, -, _ and .; the first is a letter or a digit")
	}
	if _, _, _, err := e.snapshotter(lab); err != nil {
		return err
	}
	release, err := e.Root.Lock(lab, false)
	if err != nil {
		return err
	}
	defer release()
	s, state, p, err := e.snapshotter(lab)
	if err != nil {
		return err
	}
	return act(s, state, p)
}

func (e Engine) snapshotter(lab labs.Name) (providers.Snapshotter, providers.State, providers.Provider, error) {
	state, p, err := e.made(lab)
	if err != nil {
		return nil, state, p, err
	}
	if s, ok := p.(providers.Snapshotter); ok {
		return s, state, p, nil
	}
	var able []string
	for _, other := range e.Providers {
		if _, ok := other.Provider.(providers.Snapshotter); ok {
			able = append(able, other.Name)
		}
	}
	return nil, state, p, hint.With(fmt.Errorf("lab %s: provider %s does not support snapshots", lab, state.Plan.Provider),
		"use provider: "+strings.Join(able, " or "))
}
