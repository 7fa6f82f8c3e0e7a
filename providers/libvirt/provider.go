// Package libvirt is the provider whose Nodes are virtual machines: domains of libvirt,
// over its RPC protocol, each with a kernel of its own. A machine boots the kernel
// directly; its disk is an overlay of one that holds the node image and every container
// image of the lab; it is told what it is by a NoCloud seed. Its taps become ports of the
// lab's bridges, beside the outside hosts, and netlab reaches it by SSH through the lab's
// fabric. Where the hypervisor has no hardware virtualisation that works, machines are
// emulated.
//
// Left out as yet: hypervisors on other machines, cloud images.
package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// Provider makes Nodes of virtual machines. The zero value works.
type Provider struct{}

// atOnce is how many machines start at the same time: more would only wait for each other.
const atOnce = 4

// Create implements providers.Provider.
func (p Provider) Create(ctx context.Context, req providers.Request) (running providers.Running, err error) {
	running, again, err := p.machines(ctx, req)
	if err != nil {
		return running, err
	}
	n := nodeOf(req.Plan.Lab, req.Dir, req.Plan.WithRole(topology.RoleControlPlane)[0])
	if err = local.ControlPlane(ctx, req, &running, n.path("bootstrapped"), again); err != nil {
		for _, m := range running.Machines {
			if vm, ok := m.(Machine); ok {
				vm.fetch(ctx)
			}
		}
	}
	return running, err
}

// machines makes the segments and makes every machine of the plan run, with containerd;
// again are the Nodes that have run before and were started now.
func (p Provider) machines(ctx context.Context, req providers.Request) (running providers.Running, again []string, err error) {
	for _, d := range []string{"nodes", "logs"} {
		if err := os.MkdirAll(filepath.Join(req.Dir, d), 0o755); err != nil {
			return running, nil, err
		}
	}
	h, err := connect(ctx, req.Plan.Libvirt.URI)
	if err != nil {
		return running, nil, err
	}
	defer h.close()
	if err := remember(req.Dir, h.uri); err != nil {
		return running, nil, err
	}
	store, err := openPool(h, req.Plan.Lab, req.Dir, *req.Plan.Libvirt)
	if err != nil {
		return running, nil, err
	}
	if err := p.removeExtra(h, req, store); err != nil {
		return running, nil, err
	}
	ca, err := local.Authority(req)
	if err != nil {
		return running, nil, err
	}
	// The fabric first: which machines have lost their ports shows there.
	if err := local.Segments(ctx, req); err != nil {
		return running, nil, err
	}
	stopped, again, err := p.prepare(ctx, req, h, store, ca)
	if err != nil {
		return running, nil, err
	}
	running, err = p.boot(ctx, req, h, ca, stopped)
	return running, again, err
}

// prepare makes disks for the Nodes that have none, and tells which do not run; again are
// the names of those that did before.
func (p Provider) prepare(ctx context.Context, req providers.Request, h *hypervisor, store *pool, ca *kubeadm.Authority) (stopped []node, again []string, err error) {
	var fresh, all []node
	for _, m := range req.Plan.Nodes() {
		n := nodeOf(req.Plan.Lab, req.Dir, m)
		all = append(all, n)
		_, made := n.recall()
		if !made {
			fresh = append(fresh, n)
			stopped = append(stopped, n)
			continue
		}
		runs, err := running(h, n.domain())
		if err != nil {
			return nil, nil, err
		}
		if runs && fabric.Plugged(req.Plan.Lab, m) {
			continue
		}
		if err := destroy(h, n.domain()); err != nil {
			return nil, nil, err
		}
		stopped, again = append(stopped, n), append(again, m.Name)
	}
	if err := writeKnownHosts(req.Dir, all); err != nil {
		return nil, nil, err
	}
	if len(fresh) == 0 {
		return stopped, again, nil
	}
	done := req.Step("disks of virtual machines")
	defer func() { done(err) }()
	b, err := store.base(req.Stock.Disk)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range fresh {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if err := destroy(h, n.domain()); err != nil {
			return nil, nil, err
		}
		if err := n.prepare(req, store, b, ca); err != nil {
			return nil, nil, fmt.Errorf("prepare Node %s: %w", n.machine.Name, err)
		}
	}
	return stopped, again, nil
}

// boot starts the stopped Nodes and waits until they have booted.
func (p Provider) boot(ctx context.Context, req providers.Request, h *hypervisor, ca *kubeadm.Authority, stopped []node) (running providers.Running, err error) {
	plan := req.Plan
	if len(stopped) > 0 {
		kind, err := virtualisation(ctx, req, h)
		if err != nil {
			return running, err
		}
		name := fmt.Sprintf("nodes: %d to start", len(stopped))
		if kind == emulated {
			name += ", emulated"
		}
		done := req.Step(name)
		started, startCtx := errgroup.WithContext(ctx)
		started.SetLimit(atOnce)
		for _, n := range stopped {
			started.Go(func() error {
				if err := n.start(startCtx, h, plan, kind); err != nil {
					return fmt.Errorf("start Node %s: %w", n.machine.Name, err)
				}
				return n.await(startCtx, h, n.session())
			})
		}
		err = started.Wait()
		done(err)
		if err != nil {
			return running, err
		}
	}
	port, err := local.Endpoint(req, plan.Lab, ca)
	if err != nil {
		return running, err
	}
	if running, err = p.Attach(ctx, plan, req.Dir); err != nil {
		return running, err
	}
	running.APIPort = port
	return running, nil
}

// session reaches the Node by SSH.
func (n node) session() *session {
	return &session{lab: n.lab, dir: n.state, address: n.machine.Address()}
}

// removeExtra ends Nodes that the plan no longer has, or has otherwise, and what is left
// of Nodes that were not made whole.
func (p Provider) removeExtra(h *hypervisor, req providers.Request, store *pool) error {
	names := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(req.Dir, "nodes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		names[e.Name()] = true
	}
	there, err := nodesOf(h, req.Plan.Lab)
	if err != nil {
		return err
	}
	for name := range there {
		names[name] = true
	}
	for name := range names {
		m, planned := req.Plan.Machine(name)
		n := nodeOf(req.Plan.Lab, req.Dir, topology.Machine{Name: name})
		if was, whole := n.recall(); planned && whole && reflect.DeepEqual(was.Machine, m) {
			continue
		}
		if err := n.remove(h, store); err != nil {
			return fmt.Errorf("remove Node %s: %w", name, err)
		}
	}
	return nil
}

// Attach implements providers.Provider.
func (p Provider) Attach(ctx context.Context, plan topology.Plan, dir string) (providers.Running, error) {
	found := providers.Running{Plan: plan, Kubeconfig: filepath.Join(dir, "kubeconfig"), Machines: map[string]providers.Machine{}}
	self, err := os.Executable()
	if err != nil {
		return found, err
	}
	h, err := connect(ctx, plan.Libvirt.URI)
	if err != nil {
		return found, err
	}
	defer h.close()
	for _, m := range plan.Machines {
		n := nodeOf(plan.Lab, dir, m)
		if m.Kind != topology.KindNode {
			found.Machines[m.Name] = local.Machine{Lab: plan.Lab, Name: m.Name, LogDir: n.logs, Self: self}
			continue
		}
		runs, stateErr := running(h, n.domain())
		if stateErr == nil && !runs {
			stateErr = fmt.Errorf("node %s does not run", m.Name)
		}
		if stateErr != nil {
			err = errors.Join(err, stateErr)
			continue
		}
		found.Machines[m.Name] = Machine{session: n.session(), self: self, logs: n.logs}
	}
	if err != nil {
		err = providers.WithHint(err, "start what is missing with `netlab up`")
	}
	return found, err
}

// Inspect implements providers.Inspector.
func (p Provider) Inspect(ctx context.Context, state providers.State, dir string) error {
	return local.Inspect(ctx, state, dir)
}

// Stop implements providers.Stopper. Each Node is asked to end in order, all at once; one
// that does not is ended.
func (p Provider) Stop(ctx context.Context, lab, dir string) error {
	uri, _ := recall(dir)
	h, err := connect(ctx, uri)
	if err != nil {
		return err
	}
	defer h.close()
	there, err := nodesOf(h, lab)
	if err != nil {
		return err
	}
	nodes, nodesCtx := errgroup.WithContext(ctx)
	for name, d := range there {
		n := nodeOf(lab, dir, topology.Machine{Name: name})
		if was, whole := n.recall(); whole {
			n.machine = was.Machine
		}
		nodes.Go(func() error {
			n.end(nodesCtx, h)
			return destroy(h, d.Name)
		})
	}
	if err := nodes.Wait(); err != nil {
		return fmt.Errorf("stop the Nodes: %w", err)
	}
	return local.Stop(ctx, lab)
}

// Delete implements providers.Provider.
func (p Provider) Delete(ctx context.Context, lab, dir string) error {
	uri, known := recall(dir)
	h, errs := connect(ctx, uri)
	if errs != nil && !known {
		errs = nil // nothing says that the lab was ever libvirt's
	} else if errs == nil {
		defer h.close()
		there, err := nodesOf(h, lab)
		errs = errors.Join(errs, err)
		for _, d := range there {
			errs = errors.Join(errs, destroy(h, d.Name))
		}
		errs = errors.Join(errs, deletePool(h, lab))
	}
	return errors.Join(errs, local.Delete(ctx, lab, dir))
}

// Find implements providers.Finder. Where no libvirt answers there are no labs of it.
func (p Provider) Find() ([]string, error) {
	h, err := connect(context.Background(), "")
	if err != nil {
		return nil, nil
	}
	defer h.close()
	labs, err := labsWith(h)
	slices.Sort(labs)
	return slices.Compact(labs), err
}

// hypervisorFile keeps where a lab's machines run, for a Delete that has no plan.
const hypervisorFile = "hypervisor.json"

type place struct {
	URI string `json:"uri"`
}

func remember(dir, uri string) error {
	data, err := json.Marshal(place{uri})
	if err != nil {
		return err
	}
	return providers.WriteFile(filepath.Join(dir, hypervisorFile), data, 0o644)
}

func recall(dir string) (uri string, known bool) {
	var p place
	data, err := os.ReadFile(filepath.Join(dir, hypervisorFile))
	known = err == nil && json.Unmarshal(data, &p) == nil
	return p.URI, known
}
