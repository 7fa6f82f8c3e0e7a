package fabric

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"netlab.dev/netlab/topology"
)

// joint names the link in the machine's own namespace that joins a network with a bridge
// of the machine's, and uplink its other end, a port in the fabric. They are hashed: IFNAMSIZ leaves 15
// characters, and the names of other labs are beside the first.
func joint(lab, network string) string {
	return fmt.Sprintf("nl-%x", sha256.Sum256([]byte(lab+"/"+network)))[:15]
}

func uplink(network string) string {
	return fmt.Sprintf("up-%x", sha256.Sum256([]byte(network)))[:15]
}

// CheckUplinks reports bridges of this machine that networks of the plan are to be joined
// with, and that are not there, are no bridges, or take packets of another size.
func CheckUplinks(plan topology.Plan) error {
	w := &work{plan: plan, dry: true}
	err := withSpace(func(own *space) error {
		for _, n := range plan.Networks {
			if n.Uplink != "" {
				w.theirs(own, n)
			}
		}
		return nil
	})
	if w.check("list this machine's links", err); len(w.errs) > 0 {
		return w.errs[0]
	}
	return nil
}

// theirs finds the bridge that a network is to be joined with.
func (w *work) theirs(own *space, n topology.Network) netlink.Link {
	fail := func(what, todo string) netlink.Link {
		w.errs = append(w.errs, hint{fmt.Errorf("join network %s with bridge %s: %s", n.Name, n.Uplink, what), todo})
		return nil
	}
	bridge, there := own.links[n.Uplink]
	switch {
	case !there:
		return fail("this machine has no link of this name", "ip link add "+n.Uplink+" type bridge, or take `bridge` out of the lab file")
	case bridge.Type() != "bridge":
		return fail("it is a "+bridge.Type(), "name a bridge: `ip link show type bridge` lists them")
	case bridge.Attrs().MTU != n.MTU:
		// A bridge lowers its MTU to that of its smallest port, and drops what is too large for one.
		return fail(fmt.Sprintf("its MTU is %d, the network's %d", bridge.Attrs().MTU, n.MTU), fmt.Sprintf("give the network mtu: %d", bridge.Attrs().MTU))
	}
	return bridge
}

// uplinks joins networks with bridges of the calling thread's namespace, which is the
// machine's own. The bridges stay as they are, but for one port more.
func (w *work) uplinks(ctx context.Context) error {
	ownFd, err := netns.Get()
	if err != nil {
		return err
	}
	defer ownFd.Close()
	return withSpace(func(own *space) error {
		for _, n := range w.plan.Networks {
			if n.Uplink == "" {
				continue
			}
			if bridge := w.theirs(own, n); bridge != nil {
				w.join(ctx, own, int(ownFd), bridge, n)
			}
		}
		return nil
	})
}

func (w *work) join(ctx context.Context, own *space, ownFd int, bridge netlink.Link, n topology.Network) {
	name, doing := joint(w.plan.Lab, n.Name), "join network "+n.Name+" with bridge "+n.Uplink
	l, there := own.links[name]
	if there && l.Attrs().MasterIndex == bridge.Attrs().Index && l.Attrs().OperState == netlink.OperUp {
		return
	}
	w.do(doing, func() error {
		if !there {
			err := Enter(w.plan.Lab, "", func() error {
				return withSpace(func(fabric *space) error { return plugMachine(fabric, n, uplink(n.Name), name, ownFd) })
			})
			if err != nil {
				return err
			}
			if err := own.refresh(name); err != nil {
				return err
			}
		}
		// A bridge has the lowest address of its ports'. That must not change for others.
		l, high := own.links[name], sha256.Sum256([]byte(name))
		if err := own.LinkSetHardwareAddr(l, append(net.HardwareAddr{0xfe}, high[:5]...)); err != nil {
			return err
		}
		if err := own.LinkSetAlias(l, Name(w.plan.Lab, "")); err != nil {
			return err
		}
		if err := own.LinkSetIP6AddrGenMode(l, nl6AddrGenNone); err != nil {
			return err
		}
		if err := own.LinkSetMaster(l, bridge); err != nil {
			return err
		}
		if err := own.LinkSetUp(l); err != nil {
			return err
		}
		return own.inService(ctx, []string{name})
	})
}
