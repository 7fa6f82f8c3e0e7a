package fabric

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/topology"
)

// A bridge of this machine may lead to machines that have addresses of the plan already. They
// are asked by ARP probes (RFC 5227, section 1.1: of no sender address, so that no cache learns
// from them) before a machine of the lab gets an address.
const (
	claimProbes   = 3
	claimInterval = 250 * time.Millisecond
	maxVIPsAsked  = 4096 // of the pools of a network
)

// claims reports addresses of the plan that somebody outside the lab has, for each network
// that is connected to a bridge of this machine, and disconnects such a network.
func (w *work) claims(ctx context.Context) {
	if w.dry {
		return
	}
	var all errgroup.Group
	taken := make([]map[netip.Addr]string, len(w.plan.Networks))
	for i, n := range w.plan.Networks {
		if n.Uplink == "" {
			continue
		}
		all.Go(func() error {
			return Enter(w.plan.Lab, "", func() (err error) {
				taken[i], err = askClaims(ctx, n.Bridge, claimable(w.plan, n), macs(w.plan))
				return err
			})
		})
	}
	if !w.check("ask for addresses of the plan", all.Wait()) {
		return
	}
	for i, n := range w.plan.Networks {
		if len(taken[i]) > 0 {
			w.errs = append(w.errs, claimed(n, taken[i]), w.disconnect(n))
		}
	}
	w.errs = slices.DeleteFunc(w.errs, func(err error) bool { return err == nil })
}

// claimed is the error of a network whose addresses others have.
func claimed(n topology.Network, taken map[netip.Addr]string) error {
	var addresses []netip.Addr
	for a := range taken {
		addresses = append(addresses, a)
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	var text []string
	for _, a := range addresses {
		text = append(text, fmt.Sprintf("%s by %s", a, taken[a]))
	}
	const most = 5
	if more := len(text) - most; more > 0 {
		text = append(text[:most], fmt.Sprintf("%d more", more))
	}
	todo := "use a CIDR or pools of free addresses: machines get .1, .10 and .100 onwards"
	if slices.Contains(addresses, n.Gateway()) && !n.External {
		todo = fmt.Sprintf("if that is the network's router, set gateway: %s for it and remove the network from the lab's router; else %s", n.Gateway(), todo)
	}
	return hint.With(fmt.Errorf("network %s: addresses are in use on bridge %s: %s", n.Name, n.Uplink, strings.Join(text, ", ")), todo)
}

// disconnect removes the uplink of a network.
func (w *work) disconnect(n topology.Network) error {
	return Enter(w.plan.Lab, "", func() error {
		return withSpace(func(fabric *space) error {
			port, there := fabric.links[uplink(n)]
			if !there {
				return nil
			}
			return ignoreNotFound(fabric.LinkDel(port))
		})
	})
}

// claimable lists the addresses that a lab uses on a network: those of its machines and VIPs.
func claimable(p topology.Plan, n topology.Network) []netip.Addr {
	var out []netip.Addr
	for _, m := range p.Machines {
		if nic, on := m.On(n.Name); on {
			for _, a := range nic.Addresses {
				out = append(out, a.Addr())
			}
		}
	}
	for _, pool := range p.LoadBalancer.Pools {
		if pool.Network != n.Name {
			continue
		}
		for a := pool.First; a.IsValid() && a.Compare(pool.Last) <= 0 && len(out) < maxVIPsAsked; a = a.Next() {
			out = append(out, a)
		}
	}
	return slices.DeleteFunc(out, func(a netip.Addr) bool { return !a.Is4() })
}

// macs are those of the lab's machines, which answer for their own addresses.
func macs(p topology.Plan) map[string]bool {
	own := map[string]bool{}
	for _, m := range p.Machines {
		for _, nic := range m.NICs {
			own[strings.ToLower(nic.MAC)] = true
		}
	}
	return own
}

// askClaims sends ARP probes from a bridge of the calling thread's namespace and returns who
// answered: the MAC by address. It takes claimProbes times claimInterval.
func askClaims(ctx context.Context, bridge string, addresses []netip.Addr, own map[string]bool) (map[netip.Addr]string, error) {
	link, err := net.InterfaceByName(bridge)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ARP)))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	at := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: link.Index}
	if err := unix.Bind(fd, at); err != nil {
		return nil, err
	}
	taken := map[netip.Addr]string{}
	for range claimProbes {
		for _, a := range addresses {
			if err := unix.Sendto(fd, arpProbe(link.HardwareAddr, a), 0, at); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return nil, err
			}
		}
		for end := time.Now().Add(claimInterval); time.Now().Before(end) && ctx.Err() == nil; {
			if err := hearClaim(fd, time.Until(end), addresses, own, taken); err != nil {
				return nil, err
			}
		}
	}
	return taken, ctx.Err()
}

// hearClaim waits for one frame at most so long, and notes the sender of an ARP packet.
func hearClaim(fd int, wait time.Duration, addresses []netip.Addr, own map[string]bool, taken map[netip.Addr]string) error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds())+1)
	if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	frame := make([]byte, 1500)
	if n, err = unix.Read(fd, frame); err != nil {
		return err
	}
	if mac, a, ok := arpSender(frame[:n]); ok && !own[mac] && slices.Contains(addresses, a) {
		taken[a] = mac
	}
	return nil
}

// Offsets in an Ethernet frame with ARP for IPv4 (RFC 826).
const (
	arpHeader = 14
	arpMAC    = arpHeader + 8
	arpSource = arpHeader + 14
	arpTarget = arpHeader + 24
	arpLength = arpHeader + 28
)

// arpProbe is a request for an address, of no sender address.
func arpProbe(mac net.HardwareAddr, target netip.Addr) []byte {
	f := make([]byte, arpLength)
	copy(f, net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(f[6:], mac)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_ARP)
	copy(f[arpHeader:], []byte{0, 1, 8, 0, 6, 4, 0, 1}) // Ethernet, IPv4, their lengths, request
	copy(f[arpMAC:], mac)
	copy(f[arpTarget:], target.AsSlice())
	return f
}

// arpSender reads who sent an ARP packet and the address that it says it has.
func arpSender(f []byte) (mac string, a netip.Addr, ok bool) {
	if len(f) < arpLength || !slices.Equal(f[arpHeader:arpHeader+6], []byte{0, 1, 8, 0, 6, 4}) {
		return "", netip.Addr{}, false
	}
	a, ok = netip.AddrFromSlice(f[arpSource : arpSource+4])
	return net.HardwareAddr(f[arpMAC:arpSource]).String(), a, ok && !a.IsUnspecified()
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
