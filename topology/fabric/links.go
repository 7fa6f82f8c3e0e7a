package fabric

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/topology"
)

// routeProtocol marks the routes of the plan, to distinguish stale ones from routes of a CNI
// or a BGP daemon. The number is unassigned in linux/rtnetlink.h.
const routeProtocol netlink.RouteProtocol = 110

// sysctl is one file below /proc/sys/net, which shows the reading thread's namespace.
// A file that the kernel does not have is skipped.
type sysctl struct{ name, value string }

// fabricSysctls keep the fabric a plain switch: no IPv6 addresses, no forwarding,
// and no firewall or reassembly of bridged frames, which would hide the MTU that a lab
// observes.
var fabricSysctls = []sysctl{
	{"ipv6/conf/default/disable_ipv6", "1"},
	{"ipv4/ip_forward", "0"},
	{"bridge/bridge-nf-call-iptables", "0"},
	{"bridge/bridge-nf-call-ip6tables", "0"},
	{"bridge/bridge-nf-call-arptables", "0"},
}

// machineSysctls are all written out: a new namespace may inherit the values of
// this machine. IPv6 stays on for the loopback device, which already exists, and is off for
// every later link. The reverse path filter is off: replies of
// a VIP or a Pod may leave by another link than the request arrived on. A secondary address, which
// may be the user's, outlives the primary one of its subnet, as systemd has it.
func machineSysctls(m topology.Machine) []sysctl {
	forward := "0"
	if m.Forward {
		forward = "1"
	}
	all := []sysctl{
		{"ipv6/conf/default/disable_ipv6", "1"},
		{"ipv4/ip_forward", forward},
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/default/rp_filter", "0"},
		{"ipv4/conf/all/promote_secondaries", "1"},
	}
	if m.Routing != nil {
		all = append(all, routingSysctls...)
	}
	if m.Role == topology.RoleCloud { // clients and Nodes may be on one network, and the way between them is by the host
		all = append(all, noRedirects...)
	}
	return all
}

// routingSysctls spread flows over next hops by their ports too, not by addresses alone, and keep
// a router from redirecting machines of a network to a next hop that changes.
var routingSysctls = append([]sysctl{{"ipv4/fib_multipath_hash_policy", "1"}}, noRedirects...)

var noRedirects = []sysctl{
	{"ipv4/conf/all/send_redirects", "0"},
	{"ipv4/conf/default/send_redirects", "0"},
}

// SysctlConf returns machineSysctls in the format of sysctl.d(5), for a virtual machine whose
// systemd applies them, to existing links too.
func SysctlConf(m topology.Machine) string {
	var b strings.Builder
	for _, s := range append(machineSysctls(m), sysctl{"ipv4/conf/*/rp_filter", "0"}) {
		fmt.Fprintf(&b, "net/%s = %s\n", s.name, s.value)
	}
	return b.String()
}

func (w *work) sysctls(machine string, all []sysctl) {
	for _, s := range all {
		path := filepath.Join("/proc/sys/net", s.name)
		now, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if !w.check("read sysctl of "+machine, err) || strings.TrimSpace(string(now)) == s.value {
			continue
		}
		w.do(fmt.Sprintf("set net/%s of %s to %s", s.name, machine, s.value), func() error {
			return os.WriteFile(path, []byte(s.value), 0o644)
		})
	}
}

// fabric creates the bridges, and removes bridges and ports that are not in the plan.
func (w *work) fabric(s *space) {
	wanted := map[string]bool{hostPort: true}
	for _, n := range w.plan.Networks {
		wanted[n.Bridge] = true
		wanted[uplink(n)] = n.Uplink != ""
	}
	for _, m := range w.plan.Machines {
		for _, nic := range m.NICs {
			wanted[nic.Port], wanted[ifbOf(nic.Port)] = true, true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.links)) {
		l := s.links[name]
		if t := l.Type(); !wanted[name] && (t == "veth" || t == "bridge" || t == "ifb") {
			w.do("remove "+t+" "+name+" from the fabric", func() error { return ignoreNotFound(s.LinkDel(l)) })
			delete(s.links, name)
		}
	}
	w.up("fabric", s, "lo")
	for _, n := range w.plan.Networks {
		w.bridge(s, n)
	}
	if w.plan.Capabilities.OwnKernel {
		w.vmAccess(s)
	}
}

// bridge leaves STP off, the kernel's default; a port then forwards at once, whatever
// the bridge's forward delay. The MTU is set once the bridge exists: one that it is created with
// follows the ports, and is 1500 again when the last machine of the network is off.
func (w *work) bridge(s *space, n topology.Network) {
	if _, ok := s.links[n.Bridge]; !ok {
		made := w.do("add bridge "+n.Bridge+" of network "+n.Name, func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Group = linkGroup
			attrs.Name = n.Bridge
			noSnooping := false // there is no querier to keep groups alive
			if err := s.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &noSnooping}); err != nil {
				return err
			}
			return s.refresh(n.Bridge)
		})
		if !made {
			return
		}
	}
	w.mtu("fabric", s, n.Bridge, n.MTU)
	w.up("fabric", s, n.Bridge)
}

// nic plugs one NIC. The veth pair is created in the fabric with its peer directly in the
// machine's namespace, so that it is never in this machine's namespace.
func (w *work) nic(fabric, inner *space, machine int, m topology.Machine, nic topology.NIC) {
	mac, err := net.ParseMAC(nic.MAC)
	if !w.check("parse MAC of "+m.Name+" "+nic.Name, err) {
		return
	}
	network, ok := fabric.links[bridgeOf(w.plan, nic.Network)]
	if !ok {
		if !w.dry {
			w.check("plug "+nic.Name+" of "+m.Name, fmt.Errorf("network %q has no bridge", nic.Network))
		}
		return
	}
	port, hasPort := fabric.links[nic.Port]
	link, hasLink := inner.links[nic.Name]
	if !hasPort || !hasLink || port.Attrs().ParentIndex != link.Attrs().Index {
		plugged := w.do("plug "+nic.Name+" of "+m.Name+" into network "+nic.Network, func() error {
			// An incomplete pair cannot be repaired; remove only what netlab created.
			if hasPort {
				if err := ignoreNotFound(fabric.LinkDel(port)); err != nil {
					return err
				}
			} else if hasLink && link.Type() == "veth" && link.Attrs().HardwareAddr.String() == mac.String() {
				if err := ignoreNotFound(inner.LinkDel(link)); err != nil {
					return err
				}
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Group = linkGroup
			attrs.Name, attrs.MTU, attrs.MasterIndex = nic.Port, nic.MTU, network.Attrs().Index
			pair := netlink.NewVeth(attrs)
			pair.PeerName, pair.PeerHardwareAddr = nic.Name, mac
			pair.PeerMTU, pair.PeerNamespace = uint32(nic.MTU), netlink.NsFd(machine)
			if err := fabric.LinkAdd(pair); err != nil {
				return err
			}
			return errors.Join(fabric.refresh(nic.Port), inner.refresh(nic.Name))
		})
		if !plugged {
			return
		}
	}
	if port := fabric.links[nic.Port]; port.Attrs().MasterIndex != network.Attrs().Index {
		w.do("plug port "+nic.Port+" of "+m.Name+" into network "+nic.Network, func() error {
			return fabric.LinkSetMaster(port, network)
		})
	}
	w.mtu("fabric", fabric, nic.Port, nic.MTU)
	w.connect(fabric, m, nic)
	w.impair(fabric, m, nic)

	w.mtu(m.Name, inner, nic.Name, nic.MTU)
	if link := inner.links[nic.Name]; link.Attrs().HardwareAddr.String() != mac.String() {
		w.do("set MAC of "+m.Name+" "+nic.Name+" to "+mac.String(), func() error {
			return inner.LinkSetHardwareAddr(link, mac)
		})
	}
	port = fabric.links[nic.Port]
	given := givenAddresses(port)
	w.check("list addresses of "+m.Name, w.address(inner, m, nic, func(a netip.Prefix) bool { return slices.Contains(given, a) }))
	if planned := ipv4(nic.Addresses); !w.dry && !slices.Equal(given, planned) {
		w.check("record the addresses of "+m.Name+" "+nic.Name, fabric.LinkSetAlias(port, addressAlias(planned)))
	}
	w.up(m.Name, inner, nic.Name)
}

// address sets the IPv4 addresses of a NIC and removes others that are stale. What the user
// added, such as the VIP of a keepalived, is not.
func (w *work) address(s *space, m topology.Machine, nic topology.NIC, stale func(netip.Prefix) bool) error {
	link := s.links[nic.Name]
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return s.AddrList(link, unix.AF_INET) })
	if err != nil {
		return err
	}
	missing := ipv4(nic.Addresses)
	for _, a := range addrs {
		is := prefix(a.IPNet)
		if i := slices.Index(missing, is); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		} else if stale(is) {
			w.do("remove address "+a.IPNet.String()+" from "+m.Name+" "+nic.Name, func() error { return s.AddrDel(link, &a) })
		}
	}
	for _, a := range missing {
		w.do("add address "+a.String()+" to "+m.Name+" "+nic.Name, func() error {
			return s.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a)})
		})
	}
	return nil
}

// anyOther makes address remove every address that it does not set, of links that only netlab uses.
func anyOther(netip.Prefix) bool { return true }

func ipv4(addresses []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(addresses), func(a netip.Prefix) bool { return !a.Addr().Is4() })
}

// addressAlias is the alias of a NIC's port in the fabric: the addresses that netlab gave the NIC.
// The machine's user does not see the port.
func addressAlias(addresses []netip.Prefix) string {
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}

// givenAddresses reads the alias that addressAlias wrote; ports of earlier netlabs have none.
func givenAddresses(port netlink.Link) (given []netip.Prefix) {
	for text := range strings.FieldsSeq(port.Attrs().Alias) {
		if a, err := netip.ParsePrefix(text); err == nil {
			given = append(given, a)
		}
	}
	return given
}

func (w *work) routes(s *space, m topology.Machine) error {
	routes, err := retryDump(func() ([]netlink.Route, error) { return s.RouteList(nil, unix.AF_INET) })
	if err != nil {
		return err
	}
	var there []topology.Route
	for _, r := range routes {
		if via, ok := netip.AddrFromSlice(r.Gw); ok && r.Protocol == routeProtocol {
			there = append(there, topology.Route{To: prefix(r.Dst), Via: via.Unmap()})
		}
	}
	for _, r := range there {
		if !slices.Contains(m.Routes, r) {
			w.do(fmt.Sprintf("remove route to %s via %s from %s", r.To, r.Via, m.Name), func() error {
				return ignoreNotFound(s.RouteDel(&netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice(), Protocol: routeProtocol}))
			})
		}
	}
	for _, r := range m.Routes {
		if !slices.Contains(there, r) {
			w.do(fmt.Sprintf("add route to %s via %s to %s", r.To, r.Via, m.Name), func() error {
				return s.RouteReplace(&netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice(), Protocol: routeProtocol})
			})
		}
	}
	return nil
}

func (w *work) mtu(machine string, s *space, name string, mtu int) {
	if l := s.links[name]; l.Attrs().MTU != mtu {
		w.do(fmt.Sprintf("set MTU of %s %s to %d", machine, name, mtu), func() error { return s.LinkSetMTU(l, mtu) })
	}
}

func (w *work) up(machine string, s *space, name string) {
	if l := s.links[name]; l != nil && l.Attrs().Flags&net.FlagUp == 0 {
		w.do("set "+machine+" "+name+" up", func() error { return s.LinkSetUp(l) })
	}
}

// connect sets the link of a NIC up, which SetLink may have set down.
func (w *work) connect(s *space, m topology.Machine, nic topology.NIC) {
	if port := s.links[nic.Port]; port != nil && port.Attrs().Flags&net.FlagUp == 0 {
		w.do("set the link of "+m.Name+" "+nic.Name+" up", func() error { return s.LinkSetUp(port) })
	}
}

func bridgeOf(p topology.Plan, network string) string {
	for _, n := range p.Networks {
		if n.Name == network {
			return n.Bridge
		}
	}
	return ""
}

// ignoreNotFound returns nil for the errors that mean "already removed".
func ignoreNotFound(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefix treats nil as the default route, which netlink returns on some kernels.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}
