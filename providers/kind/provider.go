// Package kind runs Nodes as kind containers: sigs.k8s.io/kind runs the node image on Docker,
// without a Docker network, and netlab connects each container to the lab's networks. On Podman
// netlab runs the containers itself, as kind would: kind's code for Podman requires a Podman
// network. What happens in the Nodes afterwards is the same as with netns. The containers have
// kind's labels and names, so that `kind get clusters`, `kind get nodes` and `kind load` work; a
// kind cluster that netlab did not create lacks netlab's mount and is left alone.
//
// Left out: rootless and remote engines: the networks are namespaces of this machine.
// `kind export kubeconfig` finds no published port; the lab's kubeconfig has the context that kind
// would have created, kind-<lab>.
package kind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// Provider runs Nodes as kind containers. The zero value is ready to use.
type Provider struct{}

// Create implements providers.Provider.
func (p Provider) Create(ctx context.Context, req providers.Request) (providers.Running, error) {
	if err := req.Plan.Lab.Check(); err != nil {
		return providers.Running{}, err
	}
	if err := local.MakeDirs(req); err != nil {
		return providers.Running{}, err
	}
	e, err := engineOf(ctx, req.Dir)
	if err != nil {
		return providers.Running{}, err
	}
	if err := e.refuseStrangers(ctx, req.Plan.Lab); err != nil {
		return providers.Running{}, err
	}
	if err := atomicfile.Write(filepath.Join(req.Dir, engineFile), []byte(e+"\n"), 0o644); err != nil {
		return providers.Running{}, err
	}
	if err := p.removeExtra(ctx, e, req); err != nil {
		return providers.Running{}, err
	}
	ca, err := local.Authority(req)
	if err != nil {
		return providers.Running{}, err
	}
	if err := keepSelf(req); err != nil {
		return providers.Running{}, err
	}
	if err := p.containers(ctx, e, req, ca); err != nil {
		return providers.Running{}, err
	}
	return p.plug(ctx, req, ca)
}

// containers starts every Node's container. Each waits for its NICs.
func (p Provider) containers(ctx context.Context, e engine, req providers.Request, ca *kubeadm.Authority) (err error) {
	there, err := e.containers(ctx, req.Plan.Lab)
	if err != nil {
		return err
	}
	first := req.Plan.WithRole(topology.RoleControlPlane)[0].Name
	var stopped, missing []node
	caches, err := artifacts.NodeCaches(req.Artifacts.Caches, req.Dir)
	if err != nil {
		return err
	}
	early, earlyCtx := errgroup.WithContext(ctx)
	images := sync.OnceValues(func() (string, error) { return local.Images(earlyCtx, req) })
	for _, m := range req.Plan.Nodes() {
		n := nodeOf(req.Plan.Lab, req.Dir, m)
		if c, made := there[m.Name]; !made {
			missing = append(missing, n)
			early.Go(func() error { return n.prepare(req, ca, images) })
		} else if c.pid() == 0 {
			n.container = c.Name
			stopped = append(stopped, n)
		}
	}
	done := req.Step(fmt.Sprintf("nodes: %d to start", len(stopped)+len(missing)))
	defer func() { done(err) }()
	if len(missing) > 0 {
		early.Go(func() error { return e.loadImage(earlyCtx, req.Artifacts.Node) })
	}
	if err := early.Wait(); err != nil {
		return err
	}
	if len(there) == 0 && e == docker {
		// For several control planes kind would create its own load balancer, from an image
		// that it pulls.
		several := func(n node) bool { return n.machine.Role == topology.RoleControlPlane && n.machine.Name != first }
		if err := create(ctx, req, slices.DeleteFunc(slices.Clone(missing), several), caches); err != nil {
			return err
		}
		missing = slices.DeleteFunc(missing, func(n node) bool { return !several(n) })
		if there, err = e.containers(ctx, req.Plan.Lab); err != nil || len(missing) == 0 {
			return err
		}
	}
	started, startCtx := errgroup.WithContext(ctx)
	for _, n := range stopped {
		started.Go(func() error { return e.run(startCtx, nil, "start", n.container) })
	}
	names := free(req.Plan.Lab, there)
	for _, n := range missing {
		name := names(n.machine.Role)
		started.Go(func() error { return e.run(startCtx, nil, n.runArgs(name, req, caches)...) })
	}
	return started.Wait()
}

// plug connects the Nodes' NICs, after which the Nodes boot, and bootstraps the control plane.
func (p Provider) plug(ctx context.Context, req providers.Request, ca *kubeadm.Authority) (running providers.Running, err error) {
	plan := req.Plan
	if running, err = p.Attach(ctx, plan, req.Dir); err != nil {
		return running, err
	}
	for _, m := range plan.Nodes() {
		if err := fabric.Adopt(ctx, plan.Lab, m.Name, running.Machines[m.Name].(local.Machine).PID); err != nil {
			return running, err
		}
	}
	if err := local.Segments(ctx, req); err != nil {
		return running, err
	}
	// Once more: the outside hosts were off before.
	if running, err = p.Attach(ctx, plan, req.Dir); err != nil {
		return running, err
	}
	var again []string
	for _, m := range plan.Nodes() {
		start, err := startOf(running.Machines[m.Name].(local.Machine).PID)
		if err != nil {
			return running, err
		}
		file := nodeOf(plan.Lab, req.Dir, m).path("seed", plugged)
		was, err := os.ReadFile(file)
		if string(was) == start {
			continue
		}
		if err == nil {
			again = append(again, m.Name) // also if Docker itself restarted it
		}
		if err := atomicfile.Write(file, []byte(start), 0o644); err != nil {
			return running, err
		}
	}
	if running.APIPort, err = local.Endpoint(req, "kind-"+plan.Lab.Label(), ca); err != nil {
		return running, err
	}
	control := nodeOf(plan.Lab, req.Dir, plan.WithRole(topology.RoleControlPlane)[0])
	err = local.ControlPlane(ctx, req, &running, control.path("bootstrapped"), again)
	return running, err
}

// namespace is the network namespace of a running Node.
func namespace(running providers.Running, node string) string {
	return fmt.Sprintf("/proc/%d/ns/net", running.Machines[node].(local.Machine).PID)
}

// removeExtra removes containers of Nodes that are no longer in the plan or have changed in it, and
// those whose files are missing.
func (p Provider) removeExtra(ctx context.Context, e engine, req providers.Request) error {
	there, err := e.containers(ctx, req.Plan.Lab)
	if err != nil {
		return err
	}
	at := func(name string) node { return nodeOf(req.Plan.Lab, req.Dir, topology.Machine{Name: name}) }
	return local.RemoveExtra(req.Plan, req.Dir, slices.Collect(maps.Keys(there)),
		func(name string) (topology.Machine, bool) { return at(name).recall() },
		func(name string) error {
			if c, made := there[name]; made {
				if err := e.remove(ctx, c.Name); err != nil {
					return err
				}
			}
			return os.RemoveAll(at(name).dir)
		})
}

// Attach implements providers.Provider.
func (p Provider) Attach(ctx context.Context, plan topology.Plan, dir string) (providers.Running, error) {
	if err := plan.Lab.Check(); err != nil {
		return providers.Running{}, err
	}
	var there map[string]container
	e, err := engineOf(ctx, dir)
	if err == nil {
		there, err = e.containers(ctx, plan.Lab)
	}
	if err != nil {
		return providers.Running{Plan: plan}, err
	}
	return local.Attach(plan, dir, func(m topology.Machine) (providers.Machine, error) {
		return local.NodeOf(plan, m, there[m.Name].pid(), nodeOf(plan.Lab, dir, m).logs)
	})
}

// Inspect implements providers.Inspector: a container that Docker has restarted has a network
// namespace without NICs.
func (p Provider) Inspect(ctx context.Context, state providers.State, dir string, off []string) error {
	running, err := p.Attach(ctx, state.Plan, dir)
	if err != nil && !providers.OnlyOff(err) {
		return err
	}
	for _, m := range state.Plan.Nodes() {
		if slices.Contains(off, m.Name) || slices.Contains(running.Off, m.Name) {
			continue
		}
		is, err := os.Stat(namespace(running, m.Name))
		if err != nil {
			return err
		}
		if was, err := os.Stat(fabric.Path(state.Plan.Lab, m.Name)); err != nil || !os.SameFile(was, is) {
			return hint.With(fmt.Errorf("node %s was restarted and has no NICs", m.Name), "`netlab up "+state.File+"` restores them")
		}
	}
	return local.Inspect(ctx, state, dir, off)
}

// Stop implements providers.Stopper.
func (p Provider) Stop(ctx context.Context, lab labs.Name, dir string) error {
	if err := lab.Check(); err != nil {
		return err
	}
	e, err := engineOf(ctx, dir)
	if err != nil {
		return err
	}
	there, err := e.containers(ctx, lab)
	if err != nil {
		return err
	}
	if err := e.stop(ctx, names(there)...); err != nil {
		return fmt.Errorf("stop the Nodes: %w", err)
	}
	return local.Stop(ctx, lab)
}

// Delete implements providers.Provider.
func (p Provider) Delete(ctx context.Context, lab labs.Name, dir string) error {
	if err := lab.Check(); err != nil {
		return err
	}
	errs := endHelpers(ctx, lab)
	for _, e := range candidates(dir) {
		there, err := e.containers(ctx, lab)
		if _, known := recalled(dir); err != nil && !known {
			continue // no sign that the lab was ever on it
		}
		errs = errors.Join(errs, err, e.remove(ctx, names(there)...))
	}
	return errors.Join(errs, local.Stop(ctx, lab))
}

func names(there map[string]container) []string {
	var out []string
	for _, c := range there {
		out = append(out, c.Name)
	}
	return out
}

// findLimit bounds the wait for a Docker that may be remote.
const findLimit = 5 * time.Second

// Find implements providers.Finder. Without a responding engine there are no labs.
func (p Provider) Find() ([]labs.Name, error) {
	ctx, cancel := context.WithTimeout(context.Background(), findLimit)
	defer cancel()
	var found []labs.Name
	for _, e := range installed() {
		found = append(found, e.clusters(ctx)...)
	}
	return found, nil
}
