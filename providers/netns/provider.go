// Package netns is the embedded provider: each Node is a set of Linux namespaces (net,
// mnt, pid, uts, ipc, cgroup) over an overlay of the node image, run by runc, with
// containerd and kubelet inside. It needs root and nothing else: no Docker, no VM, no
// systemd, no registry. The Node's network namespace is the fabric's, its file system
// is mounted in a separate mount namespace, and every process has the lab's label, so that Delete
// finds everything even without a state directory.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// Provider runs Nodes as namespaces. The zero value is ready to use.
type Provider struct{}

// Create implements providers.Provider.
func (p Provider) Create(ctx context.Context, req providers.Request) (providers.Running, error) {
	if err := req.Plan.Lab.Check(); err != nil {
		return providers.Running{}, err
	}
	if err := errors.Join(local.MakeDirs(req), local.Unfreeze(req.Plan.Lab)); err != nil {
		return providers.Running{}, err
	}
	if err := p.removeExtra(ctx, req); err != nil {
		return providers.Running{}, err
	}
	segments, early := errgroup.WithContext(ctx)
	ca, err := local.Authority(req)
	if err != nil {
		return providers.Running{}, err
	}
	var stopped []node
	var again []string
	segments.Go(func() error { return local.Segments(early, req) })
	images := sync.OnceValues(func() (string, error) { return local.Images(early, req) })
	for _, m := range req.Plan.Nodes() {
		n := nodeOf(req.Plan.Lab, req.Dir, m)
		if runs, err := n.Running(ctx); err != nil {
			return providers.Running{}, err
		} else if runs {
			continue
		}
		stopped = append(stopped, n)
		if _, ran := n.recall(); ran {
			again = append(again, m.Name)
			segments.Go(func() error { return n.Clear(early) }) // its disk is kept: a reboot
		} else {
			segments.Go(func() error { return p.prepare(req, n, ca, images) })
		}
	}
	if err := segments.Wait(); err != nil {
		return providers.Running{}, err
	}
	return p.boot(ctx, req, ca, stopped, again)
}

func (p Provider) prepare(req providers.Request, n node, ca *kubeadm.Authority, images func() (string, error)) error {
	files, err := local.Files(req.Plan, n.machine, ca)
	if err != nil {
		return err
	}
	from, err := images()
	if err != nil {
		return err
	}
	return n.prepare(from, files)
}

// boot starts the stopped Nodes, bootstraps the control plane unless that was done, and waits for
// the API server.
func (p Provider) boot(ctx context.Context, req providers.Request, ca *kubeadm.Authority, stopped []node, again []string) (running providers.Running, err error) {
	plan := req.Plan
	control := plan.WithRole(topology.RoleControlPlane)[0]
	started, startCtx := errgroup.WithContext(ctx)
	done := req.Step(fmt.Sprintf("nodes: %d to start", len(stopped)))
	for _, n := range stopped {
		started.Go(func() error {
			if err := n.start(startCtx, req.Artifacts); err != nil {
				return fmt.Errorf("start Node %s: %w", n.machine.Name, err)
			}
			return n.remember()
		})
	}
	port := 0
	started.Go(func() (err error) {
		port, err = local.Endpoint(req, plan.Lab.Label(), ca)
		return err
	})
	err = started.Wait()
	done(err)
	if err != nil {
		return running, err
	}
	if running, err = p.Attach(ctx, plan, req.Dir); err != nil {
		return running, err
	}
	running.APIPort = port

	n := nodeOf(plan.Lab, req.Dir, control)
	err = local.ControlPlane(ctx, req, &running, n.Path("bootstrapped"), again)
	return running, err
}

// Memory implements providers.Meter.
func (p Provider) Memory(lab labs.Name, node string) (int64, bool) {
	return local.Memory(lab, node)
}

// removeExtra removes Nodes that are no longer in the plan or have changed in it, and Nodes that
// never ran.
func (p Provider) removeExtra(ctx context.Context, req providers.Request) error {
	at := func(name string) node { return nodeOf(req.Plan.Lab, req.Dir, topology.Machine{Name: name}) }
	return local.RemoveExtra(req.Plan, req.Dir, nil,
		func(name string) (topology.Machine, bool) { return at(name).recall() },
		func(name string) error { return at(name).Remove(ctx) })
}

// Attach implements providers.Provider.
func (p Provider) Attach(_ context.Context, plan topology.Plan, dir string) (providers.Running, error) {
	if err := plan.Lab.Check(); err != nil {
		return providers.Running{}, err
	}
	return local.Attach(plan, dir, func(m topology.Machine) (providers.Machine, error) {
		n := nodeOf(plan.Lab, dir, m)
		return local.NodeOf(plan, m, n.PID(), n.Logs)
	})
}

// Stop implements providers.Stopper.
func (p Provider) Stop(ctx context.Context, lab labs.Name, dir string) error {
	if err := lab.Check(); err != nil {
		return err
	}
	if err := local.Unfreeze(lab); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(dir, "nodes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	nodes, nodesCtx := errgroup.WithContext(ctx)
	for _, e := range entries {
		n := nodeOf(lab, dir, topology.Machine{Name: e.Name()})
		nodes.Go(func() error { return n.Stop(nodesCtx) })
	}
	if err := nodes.Wait(); err != nil {
		return fmt.Errorf("stop the Nodes: %w", err)
	}
	return local.Stop(ctx, lab)
}

// Delete implements providers.Provider.
func (p Provider) Delete(ctx context.Context, lab labs.Name, _ string) error {
	return local.Stop(ctx, lab)
}
