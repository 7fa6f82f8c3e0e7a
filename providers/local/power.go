package local

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// PowerOff switches machines off: their NICs go first, so that nothing is sent by programs that are
// killed. kill ends a Node.
func PowerOff(ctx context.Context, lab labs.Name, dir string, machines []topology.Machine, kill func(context.Context, topology.Machine) error) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, m := range machines {
		all.Go(func() error {
			end := kill
			if m.Kind == topology.KindHost {
				end = func(ctx context.Context, m topology.Machine) error { return hostOf(lab, dir, m).Clear(ctx) }
			}
			if !m.OwnKernel { // else its NICs end with its hypervisor process
				if err := fabric.Unplug(ctx, lab, m); err != nil {
					return fmt.Errorf("unplug %s: %w", m.Name, err)
				}
			}
			if err := end(ctx, m); err != nil {
				return fmt.Errorf("switch %s off: %w", m.Name, err)
			}
			return nil
		})
	}
	return all.Wait()
}

// PowerOn starts machines that are off. boot starts the Nodes among them.
func PowerOn(ctx context.Context, req providers.Request, machines []topology.Machine, boot func(context.Context, []topology.Machine) error) error {
	isHost := func(m topology.Machine) bool { return m.Kind == topology.KindHost }
	nodes := slices.DeleteFunc(slices.Clone(machines), isHost)
	hosts := slices.DeleteFunc(slices.Clone(machines), func(m topology.Machine) bool { return !isHost(m) })
	if len(hosts) > 0 {
		if err := fabric.Restore(ctx, req.Plan, Names(hosts)); err != nil {
			return err
		}
	}
	all, starting := errgroup.WithContext(ctx)
	for _, m := range hosts {
		all.Go(func() error {
			if err := hostOf(req.Plan.Lab, req.Dir, m).start(starting, req.Plan, req.Artifacts); err != nil {
				return fmt.Errorf("start host %s: %w", m.Name, err)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil || len(nodes) == 0 {
		return err
	}
	if err := boot(ctx, nodes); err != nil {
		return err
	}
	return outdated(ctx, req, nodes)
}

// statusLimit bounds the wait for an API server that others than the started Nodes run.
const statusLimit = 5 * time.Second

// outdated marks the Pods of started Nodes as not ready, and waits for the API server if they run
// it. If no API server answers, Pods have no status that somebody could take for true.
func outdated(ctx context.Context, req providers.Request, nodes []topology.Machine) error {
	limit := statusLimit
	control := slices.ContainsFunc(nodes, func(m topology.Machine) bool { return m.Role == topology.RoleControlPlane })
	if control {
		limit = req.Plan.Limit(apiLimit, emulatedAPILimit)
	}
	running := providers.Running{Plan: req.Plan, Kubeconfig: filepath.Join(req.Dir, "kubeconfig")}
	client, err := running.Client()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := kubeadm.WaitAPI(limited, client, req.Plan); err != nil {
		if control || ctx.Err() != nil {
			return err
		}
		return nil
	}
	return rebooted(ctx, client, Names(nodes))
}

// Names returns the names of machines.
func Names(machines []topology.Machine) (names []string) {
	for _, m := range machines {
		names = append(names, m.Name)
	}
	return names
}
