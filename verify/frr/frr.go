// Package frr reads what a router's FRR says of itself. It takes the JSON that Command prints in
// the router and returns a State. It starts no program, and judges nothing.
//
// The JSON is that of FRR 8.4, Debian 12's; recordings of it are in testdata.
package frr

import (
	"bytes"
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
	return []string{"vtysh", "-c", "show bgp ipv4 unicast summary json", "-c", "show bfd peers json"}
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
	if err := errors.Join(d.Decode(&summary), d.Decode(&neighbors)); err != nil {
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
	return s, nil
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
