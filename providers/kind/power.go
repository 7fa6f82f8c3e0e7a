package kind

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// PowerOff implements providers.Switcher. A container that is killed by the engine's command is not
// restarted by its policy.
func (p Provider) PowerOff(ctx context.Context, plan topology.Plan, dir string, machines []topology.Machine) error {
	e, err := engineOf(ctx, dir)
	if err != nil {
		return err
	}
	there, err := e.containers(ctx, plan.Lab)
	if err != nil {
		return err
	}
	return local.PowerOff(ctx, plan.Lab, dir, machines, func(ctx context.Context, m topology.Machine) error {
		if there[m.Name].pid() == 0 {
			return nil
		}
		return e.run(ctx, nil, "kill", there[m.Name].Name)
	})
}

// PowerOn implements providers.Switcher.
func (p Provider) PowerOn(ctx context.Context, req providers.Request, machines []topology.Machine) error {
	return local.PowerOn(ctx, req, machines, func(ctx context.Context, nodes []topology.Machine) error {
		e, err := engineOf(ctx, req.Dir)
		if err != nil {
			return err
		}
		there, err := e.containers(ctx, req.Plan.Lab)
		if err != nil {
			return err
		}
		all, starting := errgroup.WithContext(ctx)
		for _, m := range nodes {
			c, made := there[m.Name]
			if !made {
				return fmt.Errorf("the container of Node %s not found", m.Name)
			}
			all.Go(func() error { return e.run(starting, nil, "start", c.Name) })
		}
		if err := all.Wait(); err != nil {
			return err
		}
		if there, err = e.containers(ctx, req.Plan.Lab); err != nil { // with their new processes
			return err
		}
		return plugIn(ctx, req, nodes, there)
	})
}

// plugIn gives started containers their NICs, for which they wait.
func plugIn(ctx context.Context, req providers.Request, nodes []topology.Machine, there map[string]container) error {
	for _, m := range nodes {
		if err := fabric.Adopt(ctx, req.Plan.Lab, m.Name, there[m.Name].pid()); err != nil {
			return err
		}
	}
	if err := fabric.Restore(ctx, req.Plan, local.Names(nodes)); err != nil {
		return err
	}
	for _, m := range nodes {
		start, err := startOf(there[m.Name].pid())
		if err != nil {
			return err
		}
		if err := atomicfile.Write(nodeOf(req.Plan.Lab, req.Dir, m).path("seed", plugged), []byte(start), 0o644); err != nil {
			return err
		}
	}
	return nil
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
