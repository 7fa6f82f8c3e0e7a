package fabric

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// uplinkPeer names the link in this machine's namespace that connects a network to a bridge
// of this machine; uplink names its other end, a port in the fabric. Both are hashed: IFNAMSIZ
// leaves 15 characters, and other labs have links in the same namespace.
func uplinkPeer(lab labs.Name, network string) string {
	return fmt.Sprintf("nl-%x", sha256.Sum256([]byte(lab.Label()+"/"+network)))[:15]
}

func uplink(n topology.Network) string { return portName("up", n) }

// tagged names the 802.1Q port in the fabric of a network that is a VLAN of the bridge: it
// tags what leaves by the uplink and untags what arrives.
func tagged(n topology.Network) string { return portName("tag", n) }

// portName includes the VLAN, so that a change of the VLAN is a different port.
func portName(what string, n topology.Network) string {
	name := n.Name
	if n.VLAN != 0 {
		name += fmt.Sprintf("/%d", n.VLAN)
	}
	return fmt.Sprintf("%s-%x", what, sha256.Sum256([]byte(name)))[:15]
}

// CheckUplinks reports uplink bridges of the plan that are missing on this machine, are not
// bridges or have another MTU, and VLANs that the kernel does not support.
func CheckUplinks(plan topology.Plan) error {
	w := &work{plan: plan, dry: true}
	err := withSpace(func(own *space) error {
		for _, n := range plan.Networks {
			if n.Uplink != "" {
				w.uplinkBridge(own, n)
			}
		}
		return nil
	})
	if w.check("list this machine's links", err); len(w.errs) > 0 {
		return w.errs[0]
	}
	for _, n := range plan.Networks {
		if n.VLAN != 0 {
			return noVLAN(n, tryVLAN())
		}
	}
	return nil
}

// tryVLAN creates an 802.1Q link in a namespace that ends with its thread, so that the kernel
// loads the module or reports that it has none.
func tryVLAN() error {
	return onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		return withSpace(func(s *space) error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "below" // a VLAN link on lo is not possible
			if err := s.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
				return err
			}
			if err := s.refresh("below"); err != nil {
				return err
			}
			attrs.Name, attrs.ParentIndex = "above", s.links["below"].Attrs().Index
			return s.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 1, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
		})
	})
}

// noVLAN returns the error of a network whose VLAN link cannot be created.
func noVLAN(n topology.Network, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("connect network %s to bridge %s, VLAN %d: %w", n.Name, n.Uplink, n.VLAN, err)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return hint.With(fmt.Errorf("%w: the kernel has no CONFIG_VLAN_8021Q", err),
			"modprobe 8021q, or use a kernel that has it; or remove `vlan` from the lab file and use a bridge whose port is already in the VLAN")
	}
	return err
}

// uplinkBridge finds the bridge of this machine for a network's uplink.
func (w *work) uplinkBridge(own *space, n topology.Network) netlink.Link {
	fail := func(what, todo string) netlink.Link {
		w.errs = append(w.errs, hint.With(fmt.Errorf("connect network %s to bridge %s: %s", n.Name, n.Uplink, what), todo))
		return nil
	}
	bridge, there := own.links[n.Uplink]
	switch {
	case !there:
		return fail("no such link on this machine", "ip link add "+n.Uplink+" type bridge, or remove `bridge` from the lab file")
	case bridge.Type() != "bridge":
		return fail("the link is a "+bridge.Type(), "use a bridge: `ip link show type bridge` lists them")
	case bridge.Attrs().MTU != n.MTU:
		// A bridge lowers its MTU to that of its smallest port, and drops what is too large for one.
		return fail(fmt.Sprintf("MTU of the bridge is %d, of the network %d", bridge.Attrs().MTU, n.MTU), fmt.Sprintf("set mtu: %d for the network", bridge.Attrs().MTU))
	}
	return bridge
}

// uplinks connects networks to bridges in the calling thread's namespace, which is this
// machine's. The bridges get one more port and are not changed otherwise.
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
			if bridge := w.uplinkBridge(own, n); bridge != nil {
				w.join(ctx, own, int(ownFd), bridge, n)
			}
		}
		return nil
	})
}

func (w *work) join(ctx context.Context, own *space, ownFd int, bridge netlink.Link, n topology.Network) {
	name, doing := uplinkPeer(w.plan.Lab, n.Name), "connect network "+n.Name+" to bridge "+n.Uplink
	if n.VLAN != 0 {
		doing += fmt.Sprintf(", VLAN %d", n.VLAN)
	}
	l, there := own.links[name]
	if there && l.Attrs().MasterIndex == bridge.Attrs().Index && l.Attrs().OperState == netlink.OperUp && w.tags(n) {
		return
	}
	w.do(doing, func() error {
		if !there || !w.tags(n) {
			err := Enter(w.plan.Lab, "", func() error {
				return withSpace(func(fabric *space) error {
					if n.VLAN != 0 {
						return plugTagged(fabric, n, name, ownFd)
					}
					return plugMachine(fabric, n, uplink(n), name, ownFd)
				})
			})
			if err != nil {
				return err
			}
			if err := own.refresh(name); err != nil {
				return err
			}
		}
		// A bridge takes the lowest MAC of its ports: a high one does not change it.
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
		if b, ok := bridge.(*netlink.Bridge); ok && n.VLAN != 0 && b.VlanFiltering != nil && *b.VlanFiltering {
			// A bridge that filters VLANs forwards only those that its ports are members of.
			if err := own.BridgeVlanAdd(l, uint16(n.VLAN), false, false, false, true); err != nil {
				return fmt.Errorf("make %s a member of VLAN %d: %w", name, n.VLAN, err)
			}
		}
		if err := own.LinkSetUp(l); err != nil {
			return err
		}
		return own.inService(ctx, []string{name})
	})
}

// tags reports whether the port that tags a network's frames exists, where the network has a
// VLAN.
func (w *work) tags(n topology.Network) bool {
	if n.VLAN == 0 {
		return true
	}
	err := Enter(w.plan.Lab, "", func() error {
		return withSpace(func(fabric *space) error {
			bridge, port := fabric.links[n.Bridge], fabric.links[tagged(n)]
			if bridge == nil || port == nil || port.Attrs().MasterIndex != bridge.Attrs().Index {
				return errors.New("not plugged")
			}
			return nil
		})
	})
	return err == nil
}

// plugTagged is plugMachine for a network that is a VLAN of the machine's bridge. Frames are
// tagged in the fabric: the machine gets one link, as without a VLAN, and its bridge is not
// reconfigured.
func plugTagged(fabric *space, n topology.Network, name string, own int) error {
	bridge, there := fabric.links[n.Bridge]
	if !there {
		return fmt.Errorf("bridge %s is missing", n.Bridge)
	}
	if stale, there := fabric.links[uplink(n)]; there { // removes the 802.1Q port on it too
		if err := ignoreNotFound(fabric.LinkDel(stale)); err != nil {
			return err
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Group, attrs.Name, attrs.MTU = linkGroup, uplink(n), n.MTU
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerMTU, pair.PeerNamespace = name, uint32(n.MTU), netlink.NsFd(own)
	if err := fabric.LinkAdd(pair); err != nil {
		return err
	}
	if err := fabric.refresh(uplink(n)); err != nil {
		return err
	}
	below := fabric.links[uplink(n)]
	attrs.Name, attrs.ParentIndex, attrs.MasterIndex = tagged(n), below.Attrs().Index, bridge.Attrs().Index
	port := &netlink.Vlan{LinkAttrs: attrs, VlanId: n.VLAN, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	if err := fabric.LinkAdd(port); err != nil {
		return errors.Join(noVLAN(n, err), ignoreNotFound(fabric.LinkDel(below)))
	}
	return errors.Join(fabric.LinkSetUp(below), fabric.LinkSetUp(port))
}
