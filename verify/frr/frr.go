// Package frr reads what a router's FRR says of itself. It takes the JSON that Command prints in
// the router and returns a State. It starts no program, and judges nothing.
//
// The JSON is that of FRR 8.4, Debian 12's; recordings of it are in testdata.
package frr

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Established is the State of a session that exchanges routes (RFC 4271, section 8.2.2). The others
// are Idle, Connect, Active, OpenSent and OpenConfirm.
const Established = "Established"

// Up is the Status of a BFD session that hears its neighbor.
const Up = "up"

// State is what the daemons of one router know.
type State struct {
	Sessions []Session `json:"sessions"` // by the peers' addresses
	Routes   []Route   `json:"routes"`   // of BGP, by prefix
}

// Route is what BGP knows of a prefix.
type Route struct {
	To    netip.Prefix `json:"to"`
	Paths []Path       `json:"paths"`
}

// Path is one way to a prefix.
type Path struct {
	Peer netip.Addr `json:"peer,omitzero"` // that it was accepted from; the zero Addr of a router's own prefix
	Via  netip.Addr `json:"via"`
	Used bool       `json:"used"` // it is the best one, or as good (multipath)
}

// Session finds the session with a peer.
func (s State) Session(peer netip.Addr) (Session, bool) {
	i := slices.IndexFunc(s.Sessions, func(x Session) bool { return x.Peer == peer })
	if i < 0 {
		return Session{}, false
	}
	return s.Sessions[i], true
}

// Received returns the prefixes that were accepted from a peer, in order.
func (s State) Received(peer netip.Addr) []netip.Prefix {
	prefixes := []netip.Prefix{}
	for _, r := range s.Routes {
		if slices.ContainsFunc(r.Paths, func(p Path) bool { return p.Peer == peer }) {
			prefixes = append(prefixes, r.To)
		}
	}
	return prefixes
}

// NextHops returns those of the paths to a prefix that are used, in order; none without a route.
func (s State) NextHops(to netip.Prefix) []netip.Addr {
	hops := []netip.Addr{}
	for _, r := range s.Routes {
		for _, p := range r.Paths {
			if r.To == to && p.Used && p.Peer.IsValid() {
				hops = append(hops, p.Via)
			}
		}
	}
	slices.SortFunc(hops, netip.Addr.Compare)
	return hops
}

// Session is a BGP session of IPv4 routes.
type Session struct {
	Peer     netip.Addr `json:"peer"`
	ASN      uint32     `json:"asn"` // the peer's, as configured
	State    string     `json:"state"`
	Since    time.Time  `json:"since,omitzero"` // when it was established or lost; the zero time if it never was established
	Received int        `json:"prefixesIn"`     // accepted from the peer
	Sent     int        `json:"prefixesOut"`
	Drops    int        `json:"drops"`         // how often it was lost
	BFD      *BFD       `json:"bfd,omitempty"` // nil where BFD does not watch the peer
}

// BFD is a BFD session (RFC 5880). Its intervals are in milliseconds.
type BFD struct {
	Status           string `json:"status"`
	Diagnostic       string `json:"diagnostic"` // why it went down last; "ok" if it did not
	ReceiveInterval  int    `json:"receiveIntervalMillis"`
	TransmitInterval int    `json:"transmitIntervalMillis"`
	Multiplier       int    `json:"multiplier"`
	RemoteReceive    int    `json:"remoteReceiveIntervalMillis"`
	RemoteTransmit   int    `json:"remoteTransmitIntervalMillis"`
	RemoteMultiplier int    `json:"remoteMultiplier"`
}

// Command is what prints a State's JSON in a router.
func Command() []string {
	return []string{"vtysh", "-c", "show bgp ipv4 unicast summary json", "-c", "show bfd peers json", "-c", "show bgp ipv4 unicast json"}
}

// ResetCommand is what prints why a session with a peer is not established.
func ResetCommand(peer netip.Addr) []string {
	return []string{"vtysh", "-c", "show bgp neighbors " + peer.String() + " json"}
}

// ParseReset reads the output of ResetCommand: "BGP Notification send: OPEN Message Error/Bad Peer AS".
// It is "" where FRR gives no reason.
func ParseReset(output []byte) string {
	var neighbors map[string]struct {
		Due    string `json:"lastResetDueTo"`
		Notice string `json:"lastNotificationReason"`
	}
	if json.Unmarshal(output, &neighbors) != nil {
		return "" // the peer is not configured
	}
	for _, n := range neighbors {
		return strings.TrimSuffix(n.Due+": "+n.Notice, ": ")
	}
	return ""
}

// PrefixCommand is what prints the paths to a prefix with their attributes.
func PrefixCommand(to netip.Prefix) []string {
	return []string{"vtysh", "-c", "show bgp ipv4 unicast " + to.String() + " json"}
}

// ParseCommunities reads the output of PrefixCommand: the communities (RFC 1997) of each path, separated
// by spaces.
func ParseCommunities(output []byte) ([]string, error) {
	var prefix struct {
		Paths []struct {
			Community struct {
				Text string `json:"string"`
			} `json:"community"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(output, &prefix); err != nil {
		return nil, fmt.Errorf("FRR's JSON: %w", err)
	}
	all := []string{}
	for _, p := range prefix.Paths {
		all = append(all, p.Community.Text)
	}
	return all, nil
}

// Parse reads the output of Command.
func Parse(output []byte) (State, error) {
	if text := string(bytes.TrimSpace(output)); !strings.HasPrefix(text, "{") {
		first, _, _ := strings.Cut(text, "\n")
		return State{}, fmt.Errorf("FRR: %q", first) // such as: bgpd is not running
	}
	var summary summary
	var neighbors []neighbor
	d := json.NewDecoder(bytes.NewReader(output))
	var table table
	if err := errors.Join(d.Decode(&summary), d.Decode(&neighbors), d.Decode(&table)); err != nil {
		return State{}, fmt.Errorf("FRR's JSON: %w", err)
	}
	s := State{Sessions: []Session{}}
	for address, p := range summary.Peers {
		session, err := p.session(address)
		if err != nil {
			return State{}, fmt.Errorf("FRR's JSON: %w", err)
		}
		if i := slices.IndexFunc(neighbors, func(n neighbor) bool { return n.Peer == address }); i >= 0 {
			session.BFD = neighbors[i].bfd()
		}
		s.Sessions = append(s.Sessions, session)
	}
	slices.SortFunc(s.Sessions, func(a, b Session) int { return a.Peer.Compare(b.Peer) })
	s.Routes = table.list()
	return s, nil
}

// table is the answer to show bgp ipv4 unicast json.
type table struct {
	Routes map[netip.Prefix][]struct {
		Valid     bool   `json:"valid"`
		Best      bool   `json:"bestpath"`
		Multipath bool   `json:"multipath"`
		Peer      string `json:"peerId"` // "(unspec)" of a router's own
		NextHops  []struct {
			IP netip.Addr `json:"ip"`
		} `json:"nexthops"`
	} `json:"routes"`
}

func (t table) list() []Route {
	routes := []Route{}
	for to, paths := range t.Routes {
		r := Route{To: to}
		for _, p := range paths {
			if !p.Valid || len(p.NextHops) == 0 {
				continue
			}
			peer, _ := netip.ParseAddr(p.Peer)
			r.Paths = append(r.Paths, Path{Peer: peer, Via: p.NextHops[0].IP, Used: p.Best || p.Multipath})
		}
		routes = append(routes, r)
	}
	slices.SortFunc(routes, func(a, b Route) int {
		return cmp.Or(a.To.Addr().Compare(b.To.Addr()), cmp.Compare(a.To.Bits(), b.To.Bits()))
	})
	return routes
}

// summary is the answer to show bgp ipv4 unicast summary json: empty without peers.
type summary struct {
	Peers map[string]peer `json:"peers"` // by address
}

type peer struct {
	RemoteAS    uint32 `json:"remoteAs"`
	State       string `json:"state"`
	Epoch       int64  `json:"peerUptimeEstablishedEpoch"` // of the last change from or to Established, seconds since 1970
	Received    int    `json:"pfxRcd"`
	Sent        int    `json:"pfxSnt"`
	Established int    `json:"connectionsEstablished"`
	Dropped     int    `json:"connectionsDropped"`
}

func (p peer) session(address string) (Session, error) {
	a, err := netip.ParseAddr(address)
	s := Session{Peer: a, ASN: p.RemoteAS, State: p.State, Received: p.Received, Sent: p.Sent, Drops: p.Dropped}
	if p.Epoch > 0 && p.Established > 0 {
		s.Since = time.Unix(p.Epoch, 0)
	}
	return s, err
}

// neighbor is an entry of the answer to show bfd peers json.
type neighbor struct {
	Peer             string `json:"peer"`
	Status           string `json:"status"`
	Diagnostic       string `json:"diagnostic"`
	Receive          int    `json:"receive-interval"`
	Transmit         int    `json:"transmit-interval"`
	Multiplier       int    `json:"detect-multiplier"`
	RemoteReceive    int    `json:"remote-receive-interval"`
	RemoteTransmit   int    `json:"remote-transmit-interval"`
	RemoteMultiplier int    `json:"remote-detect-multiplier"`
}

func (n neighbor) bfd() *BFD {
	return &BFD{
		Status: n.Status, Diagnostic: n.Diagnostic, ReceiveInterval: n.Receive, TransmitInterval: n.Transmit, Multiplier: n.Multiplier,
		RemoteReceive: n.RemoteReceive, RemoteTransmit: n.RemoteTransmit, RemoteMultiplier: n.RemoteMultiplier,
	}
}
