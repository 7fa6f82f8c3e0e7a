package netns

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// PowerOff implements providers.Switcher.
func (p Provider) PowerOff(ctx context.Context, plan topology.Plan, dir string, machines []topology.Machine) error {
	return local.PowerOff(ctx, plan.Lab, dir, machines, func(ctx context.Context, m topology.Machine) error {
		return nodeOf(plan.Lab, dir, m).Clear(ctx)
	})
}

// PowerOn implements providers.Switcher.
func (p Provider) PowerOn(ctx context.Context, req providers.Request, machines []topology.Machine) error {
	return local.PowerOn(ctx, req, machines, func(ctx context.Context, nodes []topology.Machine) error {
		if err := fabric.Restore(ctx, req.Plan, local.Names(nodes)); err != nil {
			return err
		}
		all, ctx := errgroup.WithContext(ctx)
		for _, m := range nodes {
			n := nodeOf(req.Plan.Lab, req.Dir, m)
			all.Go(func() error {
				if err := n.Clear(ctx); err != nil {
					return err
				}
				if err := n.start(ctx, req.Artifacts); err != nil {
					return fmt.Errorf("start Node %s: %w", m.Name, err)
				}
				return nil
			})
		}
		return all.Wait()
	})
}

// SetLink implements providers.Switcher.
func (p Provider) SetLink(ctx context.Context, plan topology.Plan, _ topology.Machine, nic topology.NIC, up bool) error {
	return fabric.SetLink(ctx, plan.Lab, []topology.NIC{nic}, up)
}

// LinksDown implements providers.Switcher.
func (p Provider) LinksDown(_ context.Context, plan topology.Plan) (map[string][]string, error) {
	return fabric.LinksDown(plan)
}

// Impair implements providers.Impairer.
func (p Provider) Impair(ctx context.Context, plan topology.Plan, _ topology.Machine, nic topology.NIC, i labs.Impairment) error {
	return fabric.Impair(ctx, plan.Lab, []topology.NIC{nic}, i)
}

// Impaired implements providers.Impairer.
func (p Provider) Impaired(_ context.Context, plan topology.Plan) (topology.Impaired, error) {
	return fabric.Impaired(plan)
}
