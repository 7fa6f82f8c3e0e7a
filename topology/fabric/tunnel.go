package fabric

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// VTEP is a remote VXLAN endpoint of a network: another machine.
type VTEP struct {
	Address netip.Addr `json:"address"` // IPv4, as this machine reaches it
	Name    string     `json:"name"`    // recorded in the link, to be read by KnownEnds when the state of the lab is lost
}

// VTEPs are the remote VXLAN endpoints of networks, by network name.
type VTEPs map[string][]VTEP

// Overhead is what VXLAN over IPv4 adds to an IP packet of a network: the Ethernet header of
// the frame, VXLAN's, UDP's and IP's (RFC 7348, section 5).
const Overhead = 14 + 8 + 8 + 20

// vxlanPort is IANA's. Flannel and Cilium use another.
const vxlanPort = 4789

// tunnel names the port of a network that is its VXLAN.
func tunnel(network string) string {
	return fmt.Sprintf("vx-%x", sha256.Sum256([]byte(network)))[:15]
}

// Stretch connects networks to those of the same VNI on other machines: each gets a VXLAN port
// that floods to every endpoint and learns which MAC is behind which (head-end replication; a
// bridge sends no frame back to the port it came from, so that a full mesh has no loops). The
// UDP socket is in the calling thread's namespace, which is this machine's; the link never is.
// VXLAN ports of networks without endpoints are removed. It requires Create first.
func Stretch(ctx context.Context, plan topology.Plan, ends VTEPs) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	w := &work{plan: plan}
	w.check("open the networks", w.tunnels(ends))
	return errors.Join(w.errs...)
}

// Stretched lists what Stretch would do, and changes nothing.
func Stretched(plan topology.Plan, ends VTEPs) ([]string, error) {
	w := &work{plan: plan, dry: true}
	w.check("open the networks", w.tunnels(ends))
	return w.changes, errors.Join(w.errs...)
}

// CheckUnderlay reports endpoints that are this machine itself, or whose path MTU is too small
// for the networks that reach there.
func CheckUnderlay(plan topology.Plan, ends VTEPs) error {
	w := &work{plan: plan, dry: true}
	w.check("find the routes to other machines", withSpace(func(own *space) error {
		for _, n := range plan.Networks {
			w.underlay(own, n, ends[n.Name])
		}
		return nil
	}))
	return errors.Join(w.errs...)
}

// KnownEnds returns the names of the current endpoints of a lab's networks, read from its
// links; none where the lab does not exist.
func KnownEnds(lab labs.Name) (names []string, err error) {
	if err := lab.Check(); err != nil {
		return nil, err
	}
	if !pinned(Name(lab, "")) {
		return nil, nil
	}
	err = Enter(lab, "", func() error {
		return withSpace(func(fabric *space) error {
			for _, l := range fabric.links {
				if l.Type() == "vxlan" {
					names = append(names, strings.Fields(l.Attrs().Alias)...)
				}
			}
			return nil
		})
	})
	slices.Sort(names)
	return slices.Compact(names), err
}

func (w *work) tunnels(ends VTEPs) error {
	if err := w.plan.Lab.Check(); err != nil {
		return err
	}
	fabricNS, err := netns.GetFromName(Name(w.plan.Lab, ""))
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", Name(w.plan.Lab, ""), err)
	}
	defer fabricNS.Close()
	return withSpace(func(own *space) error {
		return inside(fabricNS, func() error {
			return withSpace(func(fabric *space) error {
				wanted := map[string]bool{}
				for _, n := range w.plan.Networks {
					if len(ends[n.Name]) > 0 {
						wanted[tunnel(n.Name)] = true
						w.tunnel(own, fabric, int(fabricNS), n, ends[n.Name])
					}
				}
				for _, name := range slices.Sorted(maps.Keys(fabric.links)) {
					if l := fabric.links[name]; l.Type() == "vxlan" && !wanted[name] {
						w.do("remove vxlan "+name+" from the fabric", func() error { return ignoreNotFound(fabric.LinkDel(l)) })
					}
				}
				return nil
			})
		})
	})
}

// tunnel creates the VXLAN port of a network.
func (w *work) tunnel(own, fabric *space, fabricFd int, n topology.Network, ends []VTEP) {
	if !w.underlay(own, n, ends) {
		return
	}
	bridge := fabric.links[n.Bridge]
	if bridge == nil {
		if !w.dry { // Create reports the missing bridge
			w.check("stretch network "+n.Name, fmt.Errorf("bridge %s not found", n.Bridge))
		}
		return
	}
	name, doing := tunnel(n.Name), fmt.Sprintf("stretch network %s by VXLAN %d", n.Name, n.VNI)
	if l, ours := fabric.links[name].(*netlink.Vxlan); !ours || l.VxlanId != n.VNI || l.Port != vxlanPort {
		made := w.do(doing, func() error {
			if stale := fabric.links[name]; stale != nil {
				if err := ignoreNotFound(fabric.LinkDel(stale)); err != nil {
					return err
				}
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.MTU, attrs.Group, attrs.Namespace = name, n.MTU, linkGroup, netlink.NsFd(fabricFd)
			err := own.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: n.VNI, Port: vxlanPort, Learning: true})
			if errors.Is(err, unix.EEXIST) {
				return hint.With(fmt.Errorf("this machine already has VXLAN %d", n.VNI), "remove the lab with `netlab down` and create it again: it then gets another, random one")
			}
			if errors.Is(err, unix.EOPNOTSUPP) {
				return hint.With(fmt.Errorf("the kernel has no CONFIG_VXLAN: %w", err), "modprobe vxlan, or use a kernel that has it")
			}
			if err != nil {
				return err
			}
			return fabric.refresh(name)
		})
		if !made {
			return
		}
	}
	l := fabric.links[name]
	if l.Attrs().MasterIndex != bridge.Attrs().Index {
		w.do("plug "+name+" into network "+n.Name, func() error { return fabric.LinkSetMaster(l, bridge) })
	}
	if alias := aliasOf(ends); l.Attrs().Alias != alias {
		w.do("record the endpoints of network "+n.Name, func() error { return fabric.LinkSetAlias(l, alias) })
	}
	w.mtu("fabric", fabric, name, n.MTU)
	w.check("list the endpoints of network "+n.Name, w.replicate(fabric, l, n, ends))
	w.up("fabric", fabric, name)
}

// replicate floods to every endpoint, by forwarding database entries for the all-zeros MAC
// (bridge(8)).
func (w *work) replicate(fabric *space, l netlink.Link, n topology.Network, ends []VTEP) error {
	index := l.Attrs().Index
	all, err := retryDump(func() ([]netlink.Neigh, error) { return fabric.NeighList(index, unix.AF_BRIDGE) })
	if err != nil {
		return err
	}
	flood := make(net.HardwareAddr, 6)
	entry := func(to netip.Addr) *netlink.Neigh {
		return &netlink.Neigh{LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
			IP: to.AsSlice(), HardwareAddr: flood}
	}
	var there []netip.Addr
	for _, e := range all {
		to, ok := netip.AddrFromSlice(e.IP)
		if to = to.Unmap(); !ok || e.HardwareAddr.String() != flood.String() {
			continue
		}
		there = append(there, to)
		if !slices.ContainsFunc(ends, func(e VTEP) bool { return e.Address == to }) {
			w.do(fmt.Sprintf("stop stretching network %s to %s", n.Name, to), func() error { return fabric.NeighDel(entry(to)) })
		}
	}
	for _, e := range ends {
		if !slices.Contains(there, e.Address) {
			w.do(fmt.Sprintf("stretch network %s to %s", n.Name, e.Address), func() error { return fabric.NeighAppend(entry(e.Address)) })
		}
	}
	return nil
}

// underlay reports whether this machine can send a network's largest packets to all endpoints.
func (w *work) underlay(own *space, n topology.Network, ends []VTEP) bool {
	before := len(w.errs)
	for _, e := range ends {
		doing := fmt.Sprintf("stretch network %s to %s", n.Name, e.Address)
		routes, err := own.RouteGet(e.Address.AsSlice())
		if !w.check(doing, err) || len(routes) == 0 {
			continue
		}
		r := routes[0]
		if r.Type == unix.RTN_LOCAL {
			w.check(doing, hint.With(errors.New("the address is that of this machine"), "remove `hypervisor` for Nodes that run on this machine"))
			continue
		}
		for _, l := range own.links {
			if l.Attrs().Index != r.LinkIndex {
				continue
			}
			mtu := l.Attrs().MTU
			if r.MTU > 0 {
				mtu = min(mtu, r.MTU)
			}
			if mtu < n.MTU+Overhead {
				w.check(doing, hint.With(fmt.Errorf("packets of %d bytes are %d with VXLAN, the MTU of %s is %d", n.MTU, n.MTU+Overhead, l.Attrs().Name, mtu),
					fmt.Sprintf("set mtu: %d for the network, or an MTU of %d on the links of the machines", mtu-Overhead, n.MTU+Overhead)))
			}
		}
	}
	return len(w.errs) == before
}

// maxAlias is the longest alias of a link (IFALIASZ of linux/if.h without its NUL).
const maxAlias = 255

// aliasOf lists the names of endpoints, as many as fit.
func aliasOf(ends []VTEP) string {
	var text string
	for _, e := range ends {
		if next := strings.TrimSpace(text + " " + e.Name); len(next) <= maxAlias {
			text = next
		}
	}
	return text
}
