// Package fabric creates the networks of a topology.Plan in Linux: one network namespace for
// the fabric with a bridge for each network, one namespace for each machine, and a veth pair
// for each NIC. A virtual machine has no namespace: its hypervisor creates a tap for each NIC,
// and Plug moves it into the fabric. It requires root. Links, routes, firewall and sysctls of
// the machine that netlab runs on are not changed, except by HostAccess and a network's Uplink,
// which a lab file has to request.
//
// The namespaces have names under /run/netns, so that `ip netns exec` finds them: Name(lab, "") is
// the fabric, Name(lab, machine) a machine. They have no route to the networks of the machine that
// netlab runs on. A machine's namespace ends with its PID 1 (see Adopt).
//
// Not included: starting Nodes, and what a CNI or the user creates in a machine's namespace; links,
// addresses and routes that the plan does not list are ignored there. In the fabric's
// namespace every bridge and veth that is not in the plan is removed.
package fabric

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/topology"
)

// Create creates the namespaces, bridges, NICs, addresses, routes and sysctls of the plan,
// and corrects existing ones that differ. Machines of the lab that are not in the plan lose
// their NICs and their pinned namespace. It is idempotent; concurrent calls wait for each
// other.
func Create(ctx context.Context, plan topology.Plan) error {
	return (&work{plan: plan}).create(ctx)
}

func (w *work) create(ctx context.Context) error {
	if err := w.plan.Lab.Check(); err != nil {
		return err
	}
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := makeDir(); err != nil {
		return err
	}
	w.walk(ctx)
	if len(w.errs) == 0 && len(w.changes) > 0 {
		w.check("wait for the links", w.settle(ctx))
	}
	return errors.Join(w.errs...)
}

// Diff lists the changes that Create would make, one per line: "add machine w1", "plug eth1 of
// w2 into network storage". It includes those of HostAccess. It changes nothing, and leaves out
// machines that are off.
func Diff(plan topology.Plan, off ...string) ([]string, error) {
	if err := plan.Lab.Check(); err != nil {
		return nil, err
	}
	w := &work{plan: plan, dry: true, skip: func(m topology.Machine) bool { return slices.Contains(off, m.Name) }}
	w.check("list this machine's links", withSpace(func(own *space) error {
		switch _, on := own.links[HostLink(plan.Lab)]; {
		case plan.HostAccess && !on:
			w.changes = append(w.changes, "add host access")
		case !plan.HostAccess && on:
			w.changes = append(w.changes, "remove host access")
		}
		return nil
	}))
	w.walk(context.Background())
	return w.changes, errors.Join(w.errs...)
}

// work is one comparison of the plan with the actual state. Each difference passes through
// do, which either records or corrects it, so that Diff and Create always agree.
type work struct {
	plan    topology.Plan
	skip    func(topology.Machine) bool // machines whose NICs are not compared; nil: none
	dry     bool
	changes []string
	errs    []error
}

// do reports whether the change was made, so that steps that depend on it can continue.
func (w *work) do(change string, act func() error) bool {
	w.changes = append(w.changes, change)
	if w.dry {
		return false
	}
	return w.check(change, act())
}

// check records an error, and reports whether there was none.
func (w *work) check(doing string, err error) bool {
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("%s: %w", doing, err))
	}
	return err == nil
}

func (w *work) walk(ctx context.Context) {
	lab := w.plan.Lab
	if !w.namespace("add fabric", Name(lab, "")) {
		return
	}
	pinned, err := pins(lab)
	if !w.check("list namespaces", err) {
		return
	}
	for _, name := range pinned {
		machine, isMachine := strings.CutPrefix(name, Name(lab, "")+".")
		if _, planned := w.plan.Machine(machine); isMachine && !planned {
			w.do("remove machine "+machine, func() error { return unpin(name) })
		}
	}

	w.check("open fabric", Enter(lab, "", func() error {
		w.sysctls("fabric", fabricSysctls)
		return withSpace(func(fabric *space) error {
			w.fabric(fabric)
			return nil
		})
	}))
	w.check("open this machine's links", w.uplinks(ctx))
	if w.claims(ctx); len(w.errs) > 0 {
		return // no machine gets an address that others have
	}
	w.check("open fabric", Enter(lab, "", func() error {
		return withSpace(func(fabric *space) error {
			for _, m := range w.plan.Machines {
				if err := ctx.Err(); err != nil {
					return err
				}
				if w.skip != nil && w.skip(m) {
					continue
				}
				if m.Remote != "" {
					continue // its ports are in the fabric of another machine
				}
				if m.OwnKernel {
					w.ports(fabric, m)
					continue
				}
				if w.namespace("add machine "+m.Name, Name(lab, m.Name)) {
					w.check("open machine "+m.Name, w.machine(fabric, m))
				}
			}
			return nil
		})
	}))
}

// settle waits until every NIC and port is operational. The kernel activates a link
// asynchronously after it is set up; frames sent earlier are lost, and an ARP request is
// repeated only after a second.
func (w *work) settle(ctx context.Context) error {
	links := map[string][]string{} // by machine; "" is the fabric
	for _, m := range w.plan.Machines {
		if m.OwnKernel || w.skip != nil && w.skip(m) {
			continue // its provider plugs its NICs
		}
		for _, nic := range m.NICs {
			links[m.Name] = append(links[m.Name], nic.Name)
			links[""] = append(links[""], nic.Port)
		}
	}
	for machine, names := range links {
		err := Enter(w.plan.Lab, machine, func() error {
			return withSpace(func(s *space) error { return s.inService(ctx, names) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// linkStart is the timeout for links to become operational; the kernel batches this by the
// second.
const linkStart = 5 * time.Second

func (s *space) inService(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, linkStart, fmt.Errorf("not operational after %s", linkStart))
	defer cancel()
	for _, name := range names {
		for s.links[name] == nil || s.links[name].Attrs().OperState != netlink.OperUp {
			select {
			case <-ctx.Done():
				return fmt.Errorf("link %s: %w", name, context.Cause(ctx))
			case <-time.After(time.Millisecond):
			}
			if err := s.refresh(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// namespace creates the namespace if it is missing, and reports whether it exists.
func (w *work) namespace(change, name string) bool {
	return pinned(name) || w.do(change, func() error { return pin(name) })
}

func (w *work) machine(fabric *space, m topology.Machine) error {
	fd, err := open(Name(w.plan.Lab, m.Name))
	if err != nil {
		return err
	}
	defer fd.Close()
	return inside(fd, func() error {
		w.sysctls(m.Name, machineSysctls(m)) // before the NICs, which inherit them
		return withSpace(func(inner *space) error {
			w.up(m.Name, inner, "lo")
			for _, nic := range m.NICs {
				w.nic(fabric, inner, int(fd), m, nic)
			}
			return w.routes(inner, m)
		})
	})
}

// space is the links of one network namespace and a netlink socket in it.
type space struct {
	*netlink.Handle
	links  map[string]netlink.Link
	qdiscs map[int][]netlink.Qdisc // by link; nil: to be listed
}

// withSpace opens the calling thread's namespace.
func withSpace(fn func(*space) error) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	s := &space{Handle: h, links: map[string]netlink.Link{}}
	links, err := retryDump(h.LinkList)
	if err != nil {
		return err
	}
	for _, l := range links {
		s.links[l.Attrs().Name] = l
	}
	return fn(s)
}

// refresh reads one link again after a change to it.
func (s *space) refresh(name string) error {
	l, err := s.LinkByName(name)
	if err == nil {
		s.links[name] = l
	}
	return err
}

// retryDump repeats a listing that was interrupted by a change (NLM_F_DUMP_INTR) and may be
// incomplete.
func retryDump[T any](list func() ([]T, error)) (out []T, err error) {
	for range 5 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}
