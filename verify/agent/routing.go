package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/verify/frr"
)

// Session is what a router's FRR says of one BGP session.
type Session struct {
	frr.Session
	Prefixes []netip.Prefix `json:"prefixes"` // accepted from the peer
}

// Hops are the next hops of a router to an address, in order.
type Hops struct {
	Kernel []netip.Addr `json:"kernel"` // of the route in the kernel, which packets take
	BGP    []netip.Addr `json:"bgp"`    // of the paths that BGP uses
	// Communities are those of each path, separated by spaces.
	Communities []string `json:"communities"`
}

// errNoSession marks a session that is not established.
var errNoSession = errors.New("no BGP session")

// session asks FRR for its session with a peer, whose address is the target.
func (p Probe) session(ctx context.Context) (Answer, error) {
	peer, err := netip.ParseAddr(p.Target)
	if err != nil {
		return Answer{}, broken{err}
	}
	state, err := stateOfFRR(ctx)
	if err != nil {
		return Answer{}, err
	}
	s, known := state.Session(peer)
	if !known {
		return Answer{}, fmt.Errorf("%w with %s: FRR has no such neighbor", errNoSession, peer)
	}
	a := Answer{Session: &Session{s, state.Received(peer)}}
	if s.State == frr.Established {
		return a, nil
	}
	why := s.State
	if out, err := exec.CommandContext(ctx, "vtysh", frr.ResetCommand(peer)[1:]...).Output(); err == nil && frr.ParseReset(out) != "" {
		why += ": " + frr.ParseReset(out)
	}
	if !s.Since.IsZero() {
		why += ", since " + time.Since(s.Since).Round(time.Second).String()
	}
	if netstat, err := os.ReadFile("/proc/net/netstat"); err == nil && refusedSegments(string(netstat)) != "" {
		why += "; " + refusedSegments(string(netstat))
	}
	return a, fmt.Errorf("%w with %s (%s)", errNoSession, peer, why)
}

// stateOfFRR runs vtysh on this machine. A daemon that does not run has no session.
func stateOfFRR(ctx context.Context) (frr.State, error) {
	command := frr.Command()
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && ctx.Err() == nil:
		return frr.State{}, fmt.Errorf("%w: %s", errNoSession, strings.TrimSpace(string(out)+string(exit.Stderr)))
	case err != nil:
		return frr.State{}, broken{fmt.Errorf("%s: %w", command[0], err)}
	}
	state, err := frr.Parse(out)
	if err != nil {
		return frr.State{}, broken{err}
	}
	return state, nil
}

// communitiesOf asks FRR for those of the paths to a prefix; none without a path.
func communitiesOf(ctx context.Context, to netip.Prefix) ([]string, error) {
	command := frr.PrefixCommand(to)
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command[0], err)
	}
	return frr.ParseCommunities(out)
}

// hops looks up the next hops of the route to exactly the target, a prefix or an address.
func (p Probe) hops(ctx context.Context) (Answer, error) {
	to, err := netip.ParsePrefix(p.Target)
	if target, isAddr := netip.ParseAddr(p.Target); isAddr == nil {
		to, err = netip.PrefixFrom(target, target.BitLen()), nil
	}
	if err != nil {
		return Answer{}, broken{err}
	}
	kernel, err := kernelHops(to)
	if err != nil {
		return Answer{}, broken{err}
	}
	state, err := stateOfFRR(ctx)
	a := Answer{Hops: &Hops{Kernel: kernel, BGP: state.NextHops(to)}}
	if err != nil {
		return a, err
	}
	if a.Hops.Communities, err = communitiesOf(ctx, to); err != nil {
		return a, broken{err}
	}
	if len(kernel) == 0 {
		return a, fmt.Errorf("no route to %s: %w", to, unix.ENETUNREACH)
	}
	return a, nil
}

// kernelHops returns the next hops of the kernel's route to a prefix; none without a route.
func kernelHops(to netip.Prefix) ([]netip.Addr, error) {
	network := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: network, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	hops := []netip.Addr{}
	add := func(ip []byte) {
		if a, ok := netip.AddrFromSlice(ip); ok {
			hops = append(hops, a.Unmap())
		}
	}
	for _, r := range routes {
		add(r.Gw)
		for _, n := range r.MultiPath {
			add(n.Gw)
		}
	}
	slices.SortFunc(hops, netip.Addr.Compare)
	return hops, nil
}

// refusals are the counters of the kernel (TcpExt) for segments that TCP refused because of a session's
// password (RFC 2385), and what each says of the sender.
var refusals = []struct{ counter, sender string }{
	{"TCPMD5Failure", "with another password"},
	{"TCPMD5NotFound", "without a password"},
	{"TCPMD5Unexpected", "with a password, where this router has none"},
}

// refusedSegments says what TCP has refused for its password, given /proc/net/netstat; "" for nothing.
func refusedSegments(netstat string) string {
	var names, values []string
	for line := range strings.Lines(netstat) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "TcpExt:" {
			names, values = values, fields
		}
	}
	var said []string
	for _, r := range refusals {
		if i := slices.Index(names, r.counter); i >= 0 && i < len(values) && values[i] != "0" {
			said = append(said, values[i]+" "+r.sender)
		}
	}
	if said == nil {
		return ""
	}
	return "TCP segments refused so far: " + strings.Join(said, ", ")
}
