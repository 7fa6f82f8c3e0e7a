// Package libvirt runs Nodes as virtual machines: libvirt domains, managed over its RPC protocol,
// each with its own kernel. A machine boots the kernel directly; its disk is an overlay of one with
// the node image and every container image of the lab; a NoCloud seed configures it. Alternatively
// it boots a cloud image, with that image's kernel, systemd, cloud-init and sshd and the former disk
// as a second one. Its taps are ports of the lab's bridges, as are the outside hosts, and netlab
// connects to it by SSH through the lab's fabric. Without working hardware virtualisation machines
// are emulated. Nodes can be on remote hypervisors, reached by SSH: the lab's networks are created
// there too and connected by VXLAN, so that everything else works as on this machine.
package libvirt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// Provider runs Nodes as virtual machines. The zero value is ready to use.
type Provider struct{}

// Section implements providers.Configurable.
func (Provider) Section() labs.Section { return settings.Section() }

// bootLimit bounds a machine's boot. An emulated one took 10 s alone and a minute in parallel with
// others; one with a cloud image, a minute and a half alone.
func bootLimit(plan topology.Plan) time.Duration {
	if settings.Of(plan).Image.URL != "" {
		return 10 * time.Minute
	}
	return 5 * time.Minute
}

// atOnce is how many machines start in parallel: more would only slow each other down.
const atOnce = 4

// Create implements providers.Provider.
func (p Provider) Create(ctx context.Context, req providers.Request) (running providers.Running, err error) {
	if err := req.Plan.Lab.Check(); err != nil {
		return running, err
	}
	if _, err := settings.Read(req.Plan); err != nil {
		return running, err
	}
	running, again, err := p.machines(ctx, req)
	if err != nil {
		return running, err
	}
	req.Plan = running.Plan // with Capabilities.Emulated set
	n := nodeOf(req.Plan.Lab, req.Dir, req.Plan.WithRole(topology.RoleControlPlane)[0])
	if err = local.ControlPlane(ctx, req, &running, n.path("bootstrapped"), again); err != nil {
		for _, m := range running.Machines {
			if vm, ok := m.(Machine); ok {
				_ = vm.FetchLogs(context.WithoutCancel(ctx)) // the first error is reported
			}
		}
	}
	return running, err
}

// machines creates the networks and starts every machine of the plan, with containerd; again are
// the Nodes that were restarted.
func (p Provider) machines(ctx context.Context, req providers.Request) (running providers.Running, again []string, err error) {
	if err := local.MakeDirs(req); err != nil {
		return running, nil, err
	}
	at := placeOf(req.Plan)
	was, _, err := recall(req.Dir)
	if err != nil {
		return running, nil, err
	}
	hs, err := at.with(was).connect(ctx) // including those that the lab leaves
	if err != nil {
		return running, nil, err
	}
	defer hs.close()
	if err := hs.claim(ctx, req.Plan.Lab, req.Dir, was); err != nil {
		return running, nil, err
	}
	if err := remember(req.Dir, at.with(was)); err != nil {
		return running, nil, err
	}
	stores := map[*hypervisor]*pool{}
	for _, h := range hs {
		if stores[h], err = openPool(h, req.Plan.Lab, req.Dir, settings.Of(req.Plan)); err != nil {
			return running, nil, err
		}
	}
	if err := p.removeExtra(hs, req, stores); err != nil {
		return running, nil, err
	}
	ca, err := local.Authority(req)
	if err != nil {
		return running, nil, err
	}
	// The fabric first: it shows which machines have lost their ports.
	if err := local.Segments(ctx, req); err != nil {
		return running, nil, err
	}
	if err := hs.segments(ctx, req); err != nil {
		return running, nil, err
	}
	kinds, err := hs.virtualisation(ctx, req)
	if err != nil {
		return running, nil, err
	}
	req.Plan.Capabilities.Emulated = slices.Contains(slices.Collect(maps.Values(kinds)), emulated)
	stopped, again, err := p.prepare(ctx, req, hs, stores, ca)
	if err != nil {
		return running, nil, err
	}
	if err := p.leave(ctx, req, hs, at); err != nil {
		return running, nil, err
	}
	running, err = p.boot(ctx, req, hs, kinds, ca, stopped)
	return running, again, err
}

// leave removes the lab from hypervisors that no longer run any of its machines.
func (p Provider) leave(ctx context.Context, req providers.Request, hs hypervisors, at place) error {
	for uri, h := range hs {
		if uri == "" && at.URI != "" || slices.Contains(at.Remote, uri) {
			continue
		}
		if err := errors.Join(h.unlink(ctx, req.Plan.Lab), deletePool(h, req.Plan.Lab), h.forget(ctx, req.Plan.Lab)); err != nil {
			return err
		}
	}
	return remember(req.Dir, at)
}

// prepare creates disks for new Nodes and returns the Nodes that are not running; again are the
// names of those that ran before.
func (p Provider) prepare(ctx context.Context, req providers.Request, hs hypervisors, stores map[*hypervisor]*pool, ca *kubeadm.Authority) (stopped []node, again []string, err error) {
	var all []node
	fresh := map[string][]node{} // by hypervisor
	for _, m := range req.Plan.Nodes() {
		n, h := nodeOf(req.Plan.Lab, req.Dir, m), hs.of(m)
		all = append(all, n)
		_, made := n.recall()
		if !made {
			fresh[m.Remote] = append(fresh[m.Remote], n)
			stopped = append(stopped, n)
			continue
		}
		runs, err := running(h, n.domain())
		if err != nil {
			return nil, nil, err
		}
		if runs {
			if plugged, err := h.plugged(ctx, req.Plan, m); err != nil {
				return nil, nil, err
			} else if plugged {
				if err := setGuestLinks(h, req.Plan.Lab, m.Name, m.NICs, true); err != nil {
					return nil, nil, err
				}
				continue
			}
		}
		if err := destroy(h, n.domain()); err != nil {
			return nil, nil, err
		}
		stopped, again = append(stopped, n), append(again, m.Name)
	}
	if err := writeKnownHosts(req.Dir, all); err != nil {
		return nil, nil, err
	}
	for _, uri := range sorted(fresh) {
		if err := p.disks(ctx, req, hs[uri], stores[hs[uri]], fresh[uri], ca); err != nil {
			return nil, nil, err
		}
	}
	return stopped, again, nil
}

// disks creates the disks of the Nodes of one hypervisor.
func (p Provider) disks(ctx context.Context, req providers.Request, h *hypervisor, store *pool, nodes []node, ca *kubeadm.Authority) (err error) {
	name := "disks of virtual machines"
	if h.remote != nil {
		name += h.on()
		if info, err := os.Stat(req.Artifacts.Disk.Root); err == nil {
			name += fmt.Sprintf(", %.1f GB at most", float64(info.Size())/1e9)
		}
	}
	done := req.Step(name)
	defer func() { done(err) }()
	b, err := store.base(req.Artifacts.Disk)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := destroy(h, n.domain()); err != nil {
			return err
		}
		if err := n.prepare(req, store, b, ca); err != nil {
			return fmt.Errorf("prepare Node %s: %w", n.machine.Name, err)
		}
	}
	return nil
}

// boot starts the stopped Nodes and waits until they have booted.
func (p Provider) boot(ctx context.Context, req providers.Request, hs hypervisors, kinds map[string]string, ca *kubeadm.Authority, stopped []node) (running providers.Running, err error) {
	plan := req.Plan
	if len(stopped) > 0 {
		name := fmt.Sprintf("nodes: %d to start", len(stopped))
		for _, uri := range sorted(kinds) {
			if kinds[uri] == emulated && slices.ContainsFunc(stopped, func(n node) bool { return n.machine.Remote == uri }) {
				name += ", emulated" + hs[uri].on()
			}
		}
		done := req.Step(name)
		started, startCtx := errgroup.WithContext(ctx)
		started.SetLimit(atOnce)
		for _, n := range stopped {
			started.Go(func() error {
				h := hs.of(n.machine)
				if err := n.start(startCtx, h, plan, kinds[n.machine.Remote]); err != nil {
					return fmt.Errorf("start Node %s: %w", n.machine.Name, err)
				}
				return n.await(startCtx, h, n.session(), bootLimit(plan))
			})
		}
		err = started.Wait()
		done(err)
		if err != nil {
			return running, err
		}
	}
	port, err := local.Endpoint(req, plan.Lab.Label(), ca)
	if err != nil {
		return running, err
	}
	if running, err = p.attach(ctx, hs, plan, req.Dir); err != nil {
		return running, err
	}
	running.APIPort = port
	return running, nil
}

// session returns an SSH session to the Node.
func (n node) session() *session {
	return &session{lab: n.lab, dir: n.state, address: n.machine.Address()}
}

// removeExtra removes Nodes that are no longer in the plan or have changed in it, and Nodes whose
// creation did not complete.
func (p Provider) removeExtra(hs hypervisors, req providers.Request, stores map[*hypervisor]*pool) error {
	var names []string
	for uri, h := range hs {
		there, err := nodesOf(h, req.Plan.Lab)
		if err != nil {
			return err
		}
		for name := range there {
			if m, planned := req.Plan.Machine(name); planned && m.Remote != uri {
				if err := destroy(h, domainName(req.Plan.Lab, name)); err != nil {
					return fmt.Errorf("stop Node %s%s: %w", name, h.on(), err)
				}
			}
			names = append(names, name)
		}
	}
	at := func(name string) node { return nodeOf(req.Plan.Lab, req.Dir, topology.Machine{Name: name}) }
	return local.RemoveExtra(req.Plan, req.Dir, names,
		func(name string) (topology.Machine, bool) { was, whole := at(name).recall(); return was.Machine, whole },
		func(name string) error {
			for _, h := range hs {
				if err := at(name).remove(h, stores[h]); err != nil {
					return err
				}
			}
			return nil
		})
}

// Attach implements providers.Provider.
func (p Provider) Attach(ctx context.Context, plan topology.Plan, dir string) (providers.Running, error) {
	if err := plan.Lab.Check(); err != nil {
		return providers.Running{}, err
	}
	hs, err := placeOf(plan).connect(ctx)
	if err != nil {
		return providers.Running{Plan: plan, Kubeconfig: filepath.Join(dir, "kubeconfig"), Machines: map[string]providers.Machine{}}, err
	}
	defer hs.close()
	return p.attach(ctx, hs, plan, dir)
}

func (p Provider) attach(ctx context.Context, hs hypervisors, plan topology.Plan, dir string) (providers.Running, error) {
	self, err := os.Executable()
	if err != nil {
		return providers.Running{Plan: plan}, err
	}
	plan.Capabilities.Emulated = hs.emulated(dir)
	return local.Attach(plan, dir, func(m topology.Machine) (providers.Machine, error) {
		n, h := nodeOf(plan.Lab, dir, m), hs.of(m)
		runs, err := running(h, n.domain())
		if err == nil && !runs {
			err = providers.Off(m)
		}
		n.fetchConsole(ctx, h)
		return Machine{session: n.session(), self: self, logs: n.logs}, err
	})
}

// Inspect implements providers.Inspector.
func (p Provider) Inspect(ctx context.Context, state providers.State, dir string, off []string) error {
	errs := local.Inspect(ctx, state, dir, off)
	if len(state.Plan.Remotes()) == 0 {
		return errs
	}
	hs, err := place{Remote: state.Plan.Remotes()}.connect(ctx)
	if err != nil {
		return errors.Join(errs, err)
	}
	defer hs.close()
	lines, err := hs.differs(ctx, state.Plan, off)
	for _, line := range lines {
		err = errors.Join(err, fmt.Errorf("the networks differ from the plan: %s", line))
	}
	return errors.Join(errs, err)
}
