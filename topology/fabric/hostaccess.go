package fabric

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// hostPort is the port of HostAccess in the fabric; no port of a plan has this name.
const hostPort = "nl-host"

// HostLink names the link that HostAccess creates in this machine's namespace. It is
// hashed: IFNAMSIZ leaves 15 characters.
func HostLink(lab labs.Name) string {
	return fmt.Sprintf("nl-%x", sha256.Sum256([]byte(lab.Label())))[:13]
}

// HostAddress returns the address of this machine on the lab's first network: the highest one
// that is not the broadcast address, a machine's, a gateway's or a pool's.
func HostAddress(plan topology.Plan) (netip.Prefix, error) {
	return freeAddress(plan, 0, "host access")
}

// FabricAddress returns the address of the fabric itself on the lab's first network, for labs whose
// Nodes are virtual machines and are reached over their network only: the highest free one
// after HostAddress.
func FabricAddress(plan topology.Plan) (netip.Prefix, error) {
	return freeAddress(plan, 1, "access to virtual machines")
}

// freeAddress returns a free address of the first network, counted from the highest. The
// error names the purpose.
func freeAddress(plan topology.Plan, at int, purpose string) (netip.Prefix, error) {
	if len(plan.Networks) == 0 {
		return netip.Prefix{}, errors.New(purpose + ": the lab has no network")
	}
	n := plan.Networks[0]
	used := map[netip.Addr]bool{n.Gateway(): true}
	for _, m := range plan.Machines {
		for _, nic := range m.NICs {
			for _, a := range nic.Addresses {
				used[a.Addr()] = true
			}
		}
	}
	first := n.CIDR().Masked().Addr()
	for a := last(n.CIDR()).Prev(); a.Compare(first) > 0; a = a.Prev() {
		if pool, ok := poolOf(plan, a); ok {
			if pool.First.Compare(first) > 0 {
				a = pool.First
			} else {
				break
			}
		} else if !used[a] {
			if at == 0 {
				return netip.PrefixFrom(a, n.CIDR().Bits()), nil
			}
			at--
		}
	}
	return netip.Prefix{}, hint.With(fmt.Errorf("%s: network %s (%s) has no free address", purpose, n.Name, n.CIDR()),
		"use a larger network or smaller pools")
}

// HostAccess adds a link and a connected route into the lab's first network to the calling
// thread's namespace, which is this machine's, or removes them. It returns an error for a
// network that this machine already routes to. It requires Create first.
func HostAccess(ctx context.Context, plan topology.Plan, on bool) error {
	if err := plan.Lab.Check(); err != nil {
		return err
	}
	own, err := netns.Get() // on the caller's thread, before anything moves to another
	if err != nil {
		return err
	}
	defer own.Close()
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return withSpace(func(s *space) error {
		if !on {
			return removeHostEnd(s, plan.Lab)
		}
		return addHostEnd(ctx, s, int(own), plan)
	})
}

func addHostEnd(ctx context.Context, own *space, ownFd int, plan topology.Plan) error {
	address, err := HostAddress(plan)
	if err != nil {
		return err
	}
	name, network := HostLink(plan.Lab), plan.Networks[0]
	if err := hostConflict(own, name, address.Masked()); err != nil {
		return err
	}
	if _, ok := own.links[name]; !ok {
		err := Enter(plan.Lab, "", func() error {
			return withSpace(func(fabric *space) error { return plugMachine(fabric, network, hostPort, name, ownFd) })
		})
		if err != nil {
			return fmt.Errorf("host access to network %s: %w", network.Name, err)
		}
		if err := own.refresh(name); err != nil {
			return err
		}
	}
	link := own.links[name]
	w := &work{plan: plan}
	w.check("label "+name, own.LinkSetAlias(link, Name(plan.Lab, "")))
	w.check("keep IPv6 off "+name, own.LinkSetIP6AddrGenMode(link, nl6AddrGenNone))
	nic := topology.NIC{Name: name, Addresses: []netip.Prefix{address}}
	w.check("list addresses", w.address(own, topology.Machine{Name: "this machine"}, nic, anyOther))
	w.mtu("this machine", own, name, network.MTU)
	w.up("this machine", own, name)
	if err := errors.Join(w.errs...); err != nil {
		return err
	}
	if err := own.inService(ctx, []string{name}); err != nil {
		return err
	}
	return Enter(plan.Lab, "", func() error {
		return withSpace(func(fabric *space) error { return fabric.inService(ctx, []string{hostPort}) })
	})
}

// nl6AddrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h: no link-local address.
const nl6AddrGenNone = 1

// plugMachine creates a veth pair of a port of a network and a link in this machine's
// namespace.
func plugMachine(fabric *space, network topology.Network, port, name string, own int) error {
	bridge, ok := fabric.links[network.Bridge]
	if !ok {
		return fmt.Errorf("bridge %s is missing", network.Bridge)
	}
	if stale, ok := fabric.links[port]; ok {
		if err := ignoreNotFound(fabric.LinkDel(stale)); err != nil {
			return err
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Group = linkGroup
	attrs.Name, attrs.MTU, attrs.MasterIndex = port, network.MTU, bridge.Attrs().Index
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerMTU, pair.PeerNamespace = name, uint32(network.MTU), netlink.NsFd(own)
	if err := fabric.LinkAdd(pair); err != nil {
		return err
	}
	return fabric.LinkSetUp(pair)
}

// hostConflict returns an error for a route of this machine that overlaps the lab's network.
func hostConflict(own *space, name string, network netip.Prefix) error {
	routes, err := retryDump(func() ([]netlink.Route, error) { return own.RouteList(nil, unix.AF_INET) })
	if err != nil {
		return err
	}
	for _, r := range routes {
		to := prefix(r.Dst)
		if to.Bits() == 0 || !to.Overlaps(network) {
			continue
		}
		dev, lab := "", ""
		for _, l := range own.links {
			if l.Attrs().Index == r.LinkIndex {
				dev = l.Attrs().Name
				lab, _ = strings.CutPrefix(l.Attrs().Alias, pinPrefix)
			}
		}
		if dev == name {
			continue
		}
		err := fmt.Errorf("host access to %s: this machine already routes %s through %s", network, to, dev)
		if lab != "" {
			return hint.With(err, fmt.Sprintf("lab %s has host access to it: `netlab down %s`, or use another CIDR for this lab", lab, lab))
		}
		return hint.With(err, "use another CIDR for the lab's first network, or remove hostAccess")
	}
	return nil
}

// removeHostEnd removes the link of a lab. Its peer, the port, is removed with it.
func removeHostEnd(own *space, lab labs.Name) error {
	l, ok := own.links[HostLink(lab)]
	if !ok {
		return nil
	}
	return ignoreNotFound(own.LinkDel(l))
}

func poolOf(plan topology.Plan, a netip.Addr) (topology.Pool, bool) {
	for _, p := range plan.LoadBalancer.Pools {
		if p.First.Compare(a) <= 0 && a.Compare(p.Last) <= 0 {
			return p, true
		}
	}
	return topology.Pool{}, false
}

// last returns the highest address of a prefix: the broadcast address in IPv4.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
