package engine

import (
	"context"
	"fmt"
	"slices"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
)

// Stop stops a lab without removing it; already reports that it was stopped before.
func (e Engine) Stop(ctx context.Context, lab labs.Name) (already bool, err error) {
	err = e.change(lab, func(state providers.State, p providers.Provider) error {
		if already = state.Phase == providers.PhaseStopped; already {
			return nil
		}
		if err := providers.Stop(ctx, e.Root, p, lab); err != nil {
			return stopped(ctx, err, fmt.Sprintf("`netlab stop %s` continues, `netlab start %s` starts the lab again", lab, lab))
		}
		if parts, err := e.parts(); err != nil || slices.Contains(parts, lab) {
			return err
		}
		return e.Owners.Remove(lab) // nothing is left that could be another's
	})
	return already, err
}

// StartResult is the result of Start.
type StartResult struct {
	Already bool              // the lab ran: nothing was done
	Running providers.Running // the lab; none where Already
	Merge   error             // why a kubeconfig that the lab is merged into is out of date
}

// Start starts a lab as it was created, whatever its file says now.
func (e Engine) Start(ctx context.Context, lab labs.Name, progress Progress) (result StartResult, err error) {
	err = e.change(lab, func(state providers.State, p providers.Provider) error {
		if result.Already = providers.Healthy(ctx, p, state, e.Root.Dir(lab)) == nil; result.Already {
			return nil
		}
		if err := p.Check(ctx, state.Plan); err != nil {
			return err
		}
		if err := e.Owners.Set(lab, e.Root); err != nil {
			return err
		}
		if result.Running, err = providers.Start(ctx, e.Root, p, lab, progress.Step); err != nil {
			return stopped(ctx, err, fmt.Sprintf("`netlab start %s` continues, `netlab down %s` removes the lab", lab, lab))
		}
		result.Merge = e.remerge(lab)
		return nil
	})
	return result, err
}

// change calls act for an existing lab, with the lab locked.
func (e Engine) change(lab labs.Name, act func(providers.State, providers.Provider) error) error {
	release, err := e.Root.Lock(lab, false)
	if err != nil {
		return err
	}
	defer release()
	state, p, err := e.made(lab)
	if err != nil {
		return err
	}
	return act(state, p)
}
