package libvirt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// Stop implements providers.Stopper. All Nodes are shut down in parallel; a Node that does not shut
// down is destroyed.
func (p Provider) Stop(ctx context.Context, lab labs.Name, dir string) error {
	if err := lab.Check(); err != nil {
		return err
	}
	at, known, err := recall(dir)
	if err != nil {
		return err
	}
	if !known {
		at.URI = resolve("")
	}
	hs, err := at.connect(ctx)
	if err != nil {
		return err
	}
	defer hs.close()
	nodes, nodesCtx := errgroup.WithContext(ctx)
	for _, h := range hs {
		there, err := nodesOf(h, lab)
		if err != nil {
			return err
		}
		for name, d := range there {
			n := nodeOf(lab, dir, topology.Machine{Name: name})
			if was, whole := n.recall(); whole {
				n.machine = was.Machine
			}
			nodes.Go(func() error {
				n.end(nodesCtx, h)
				n.fetchConsole(nodesCtx, h)
				return destroy(h, d.Name)
			})
		}
	}
	if err := nodes.Wait(); err != nil {
		return fmt.Errorf("stop the Nodes: %w", err)
	}
	var errs error
	for _, h := range hs {
		errs = errors.Join(errs, h.unlink(ctx, lab))
	}
	return errors.Join(errs, local.Stop(ctx, lab))
}

// Delete implements providers.Provider. If a remote machine is unreachable, everything else is
// removed and the state keeps its location.
func (p Provider) Delete(ctx context.Context, lab labs.Name, dir string) error {
	if err := lab.Check(); err != nil {
		return err
	}
	at, known, errs := recall(dir)
	if !known {
		var err error
		at.URI = resolve("")
		at.Remote, err = fabric.KnownEnds(lab)
		errs = errors.Join(errs, err)
	}
	hs, missed := at.reach(ctx)
	defer hs.close()
	if !known {
		delete(missed, "") // no sign that the lab ever used libvirt
	}
	for _, h := range hs {
		there, err := nodesOf(h, lab)
		errs = errors.Join(errs, err)
		for _, d := range there {
			errs = errors.Join(errs, destroy(h, d.Name))
		}
		errs = errors.Join(errs, deletePool(h, lab), h.unlink(ctx, lab), h.forget(ctx, lab))
	}
	far := sorted(missed)
	far = slices.DeleteFunc(far, func(uri string) bool { return uri == "" })
	errs = errors.Join(errs, missed[""])
	if len(far) == 0 {
		return errors.Join(errs, local.Stop(ctx, lab))
	}
	for _, uri := range far {
		errs = errors.Join(errs, hint.With(fmt.Errorf("machines of lab %s are left at %s: %w", lab, uri, missed[uri]),
			fmt.Sprintf("repeat `netlab down %s` when it is reachable; if it no longer exists, remove %s", lab, dir)))
	}
	return errors.Join(errs, local.Stop(ctx, lab), providers.Root(filepath.Dir(dir)).Claim(lab), remember(dir, place{Remote: far}))
}

// Find implements providers.Finder. Without a responding libvirt there are no labs.
func (p Provider) Find() ([]labs.Name, error) {
	ctx, cancel := context.WithTimeout(context.Background(), findLimit)
	defer cancel()
	h, err := connect(ctx, "")
	if err != nil {
		return nil, nil
	}
	defer h.close()
	h.calls.setLimit(findLimit)
	return labsWith(h)
}
