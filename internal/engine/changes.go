package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/manifests"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// Changes compares a plan and the user's manifests with the lab of its name; nil if there is none.
func (e Engine) Changes(ctx context.Context, plan topology.Plan, theirs Manifests) (*topology.Changes, error) {
	state, err := e.Root.Read(plan.Lab)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	changes, err := e.changes(ctx, state, plan, theirs)
	if err != nil || len(changes.Remake) > 0 || state.Phase != providers.PhaseUp {
		return &changes, err
	}
	provider, err := e.provider(state.Plan.Provider)
	if err != nil {
		return &changes, err
	}
	for _, problem := range hint.Split(providers.Healthy(ctx, provider, state, e.Root.Dir(plan.Lab))) {
		changes.Restore = append(changes.Restore, problem.Error())
	}
	return &changes, nil
}

// changes is what Up would change in an existing lab, and what of the user's goes with that.
func (e Engine) changes(ctx context.Context, state providers.State, plan topology.Plan, theirs Manifests) (topology.Changes, error) {
	changes := topology.Compare(state.Plan, plan)
	if len(changes.Remake) > 0 {
		changes.Lose = e.lost(ctx, state)
		return changes, nil
	}
	changes.Users = manifests.Changes(state.Manifests, manifests.Hashes(theirs.Sources))
	for _, name := range changes.Replace {
		if m, _ := plan.Machine(name); m.Kind == topology.KindNode {
			changes.Lose = append(changes.Lose, fmt.Sprintf("the disk of Node %s, with the local data of its Pods", name))
		}
	}
	if state.Artifacts.Agent == "" {
		return changes, nil
	}
	own, err := e.ownAgents(state)
	if err == nil && !own {
		changes.Apply = append(changes.Apply, "verification agents, which are of another netlab build")
	}
	return changes, err
}

// lost lists what of the user's is in a lab's cluster.
func (e Engine) lost(ctx context.Context, state providers.State) []string {
	ctx, cancel := context.WithTimeout(ctx, providers.UsersLimit)
	defer cancel()
	provider, err := e.provider(state.Plan.Provider)
	if err != nil || !state.Made() && state.Phase != providers.PhaseCreating {
		return nil
	}
	lines := []string{"the disks of all its Nodes, with the local data of its Pods"}
	dir := e.Root.Dir(state.Plan.Lab)
	running, _ := provider.Attach(ctx, state.Plan, dir) // some may be off
	theirs, err := providers.Users(ctx, running, dir)
	if err != nil {
		return append(lines, fmt.Sprintf("what else is in the cluster; its API server does not answer (%v)", err))
	}
	return append(lines, theirs...)
}

// agreed asks the user before a lab is replaced, or before machines of a lab that another file
// made are removed. It returns nil if nothing is lost or the user agrees.
func (was before) agreed(o UpOptions) error {
	if !was.known || was.state.Phase == providers.PhaseDeleting {
		return nil
	}
	why, lab := "recreates the cluster", was.state.Plan.Lab
	switch other := was.state.File; {
	case sameFile(other, o.File):
		if len(was.changes.Remake) == 0 {
			return nil
		}
	case len(was.changes.Remake)+len(was.changes.Remove)+len(was.changes.Replace) > 0:
		why = fmt.Sprintf("replaces lab %s, which was made from %s,", lab, other)
	default:
		return nil
	}
	if o.Agree != nil && o.Agree(was.changes) {
		return nil
	}
	return hint.With(fmt.Errorf("`netlab up %s` %s and requires --remake", o.File, why),
		fmt.Sprintf("`netlab plan %s` lists what changes and what is deleted; another metadata.name makes another lab", o.File))
}

// sameFile reports whether two paths are of one lab file; one that does not exist any more was moved.
func sameFile(was, is string) bool {
	a, err := os.Stat(was)
	if err != nil {
		return true
	}
	b, err := os.Stat(is)
	if err != nil {
		absolute, err := filepath.Abs(is)
		return err == nil && absolute == was
	}
	return os.SameFile(a, b)
}

// untouched adds to the error of an Up that ended before it changed a lab that this is so.
func (was before) untouched(ctx context.Context, err error) error {
	if !was.known {
		return err
	}
	return stopped(ctx, err, fmt.Sprintf("lab %s was not changed", was.state.Plan.Lab))
}
