package engine

import (
	"context"
	"fmt"
	"regexp"

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

// Save keeps a lab that runs under a name, and lets it go on.
func (e Engine) Save(ctx context.Context, lab labs.Name, name string) error {
	return e.snapshot(ctx, lab, name, providers.Snapshotter.Save)
}

// Restore puts a lab back to a snapshot, whatever it does now.
func (e Engine) Restore(ctx context.Context, lab labs.Name, name string) error {
	return e.snapshot(ctx, lab, name, providers.Snapshotter.Restore)
}

// snapshotName is a file's name of the state directory.
var snapshotName = regexp.MustCompile(`^[a-zA-Z0-9][-_.a-zA-Z0-9]{0,62}$`)

// snapshot does something with a snapshot of a lab that nobody else changes meanwhile.
func (e Engine) snapshot(ctx context.Context, lab labs.Name, name string,
	act func(providers.Snapshotter, context.Context, topology.Plan, string, string) error) error {
	if !snapshotName.MatchString(name) {
		return hint.With(fmt.Errorf("%q is no name of a snapshot", name), "letters, digits, -, _ and . in between, 63 at most")
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
	s, ok := p.(providers.Snapshotter)
	if !ok {
		return nil, state, hint.With(fmt.Errorf("lab %s is of provider %s, which keeps no snapshots", lab, state.Plan.Provider), "provider libvirt does")
	}
	return s, state, nil
}
