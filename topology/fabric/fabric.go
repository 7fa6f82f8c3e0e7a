// Package fabric turns a topology.Plan into Linux: one network namespace for the
// fabric, which holds a bridge a network, one namespace a machine, and a veth pair a
// NIC between the two. A virtual machine has no namespace here: its NICs are taps that
// its hypervisor makes and Plug takes over. It needs root. The machine that netlab runs on keeps its own
// links, routes, firewall and sysctls; the exceptions are HostAccess and a network's Uplink,
// which are asked for by name.
//
// The namespaces are pinned under /run/netns as `ip netns` does, so that their names
// are the label by which a lab is found again: Name(lab, "") is the fabric,
// Name(lab, machine) a machine. Nothing in them routes to the machine's own networks.
//
// Left out: starting Nodes, and what CNIs put into a machine's namespace afterwards;
// links, addresses and routes that the plan does not name are left alone there. In
// the fabric's namespace every bridge and veth that the plan does not name is removed.
package fabric

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/topology"
)

// Create makes the plan's namespaces, bridges, NICs, addresses, routes and sysctls,
// and corrects what exists and differs. Machines of the lab that the plan does not
// name lose their NICs and their pinned namespace. It may run again at any time;
// runs at the same time wait for one another.
func Create(ctx context.Context, plan topology.Plan) error {
	if err := plan.Lab.Check(); err != nil {
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
	w := &work{plan: plan}
	w.walk(ctx)
	if len(w.errs) == 0 && len(w.changes) > 0 {
		w.check("wait for the links", w.settle(ctx))
	}
	return errors.Join(w.errs...)
}

// Diff lists what Create would do to bring this machine to the plan, one line a
// change: "add machine w1", "plug eth1 of w2 into network storage". Where HostAccess
// has to be called, it says so too. It changes nothing.
func Diff(plan topology.Plan) ([]string, error) {
	if err := plan.Lab.Check(); err != nil {
		return nil, err
	}
	w := &work{plan: plan, dry: true}
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

// work is one comparison of the plan with what is there. Each difference passes
// through do, which either notes it or mends it: Diff and Create cannot disagree.
type work struct {
	plan    topology.Plan
	dry     bool
	changes []string
	errs    []error
}

// do reports whether the change was made, so that steps which build on it can go on.
func (w *work) do(change string, act func() error) bool {
	w.changes = append(w.changes, change)
	if w.dry {
		return false
	}
	return w.check(change, act())
}

// check notes an error, and reports whether there was none.
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
			for _, m := range w.plan.Machines {
				if err := ctx.Err(); err != nil {
					return err
				}
				if m.Remote != "" {
					continue // another machine's fabric has its ports
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
	w.check("open this machine's links", w.uplinks(ctx))
}

// settle waits until the kernel has taken every NIC and port into service. It does so
// in the background, a moment after a link is set up; what is sent earlier is lost,
// and an ARP request is repeated only after a second.
func (w *work) settle(ctx context.Context) error {
	links := map[string][]string{} // by machine; "" is the fabric
	for _, m := range w.plan.Machines {
		if m.OwnKernel {
			continue // whoever starts it plugs it
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

// linkStart bounds the wait for links; the kernel batches such work by the second.
const linkStart = 5 * time.Second

func (s *space) inService(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, linkStart, fmt.Errorf("not in service after %s", linkStart))
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

// namespace reports whether the namespace is there, or has been made.
func (w *work) namespace(change, name string) bool {
	return pinned(name) || w.do(change, func() error { return pin(name) })
}

func (w *work) machine(fabric *space, m topology.Machine) error {
	fd, err := netns.GetFromName(Name(w.plan.Lab, m.Name))
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

// space is one network namespace's links, as seen over its own netlink socket.
type space struct {
	*netlink.Handle
	links map[string]netlink.Link
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

// retryDump repeats a listing that a change interrupted: the kernel says so, and the
// answer may then miss entries.
func retryDump[T any](list func() ([]T, error)) (out []T, err error) {
	for range 5 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}
