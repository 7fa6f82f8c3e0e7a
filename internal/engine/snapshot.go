package engine

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// Snapshots lists a lab's, the oldest first.
func (e Engine) Snapshots(lab labs.Name) ([]providers.Snapshot, error) {
	s, _, err := e.snapshotter(lab)
	if err != nil {
		return nil, err
	}
	return s.Snapshots(e.Root.Dir(lab))
}

// Save saves a running lab under a name; the lab keeps running.
func (e Engine) Save(ctx context.Context, lab labs.Name, name string) error {
	return e.snapshot(ctx, lab, name, providers.Snapshotter.Save)
}

// Restore restores a lab from a snapshot, whatever its current state.
func (e Engine) Restore(ctx context.Context, lab labs.Name, name string) error {
	return e.snapshot(ctx, lab, name, providers.Snapshotter.Restore)
}

// snapshotName matches names of snapshots, which are file names in the state directory.
var snapshotName = regexp.MustCompile(`^[a-zA-Z0-9][-_.a-zA-Z0-9]{0,62}$`)

// snapshot calls act for a snapshot of a lab, with the lab locked.
func (e Engine) snapshot(ctx context.Context, lab labs.Name, name string,
	act func(providers.Snapshotter, context.Context, topology.Plan, string, string) error) error {
	if !snapshotName.MatchString(name) {
		return hint.With(fmt.Errorf("snapshot name %q is not valid", name), "use at most 63 letters, digits, -, _ and .; the first is a letter or a digit")
	}
	s, state, err := e.snapshotter(lab)
	if err != nil {
		return err
	}
	release, err := e.Root.Lock(lab, false)
	if err != nil {
		return err
	}
	defer release()
	return act(s, ctx, state.Plan, e.Root.Dir(lab), name)
}

func (e Engine) snapshotter(lab labs.Name) (providers.Snapshotter, providers.State, error) {
	state, p, err := e.made(lab)
	if err != nil {
		return nil, state, err
	}
	if s, ok := p.(providers.Snapshotter); ok {
		return s, state, nil
	}
	var able []string
	for _, other := range e.Providers {
		if _, ok := other.Provider.(providers.Snapshotter); ok {
			able = append(able, other.Name)
		}
	}
	return nil, state, hint.With(fmt.Errorf("lab %s: provider %s does not support snapshots", lab, state.Plan.Provider),
		"use provider: "+strings.Join(able, " or "))
}
