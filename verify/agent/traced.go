package agent

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mark is what the packets of a traced probe carry, where its protocol has room: an HTTP
// request as its User-Agent, which proxies forward, and a datagram as its payload.
func Mark(token string) string { return "netlab-trace/" + token }

// Token marks one repetition, counted from 0, of a probe with that Trace.
func Token(trace string, repetition int) string { return fmt.Sprintf("%s.%d.", trace, repetition) }

// Socket is a socket that a traced probe sent from.
type Socket struct {
	Protocol string `json:"protocol"` // tcp, udp
	Port     uint16 `json:"port"`     // its own
	Remote   string `json:"remote"`   // address and port that it connected or sent to
}

// sockets are those of one repetition. An HTTP transport may still dial when its request
// has timed out.
type sockets struct {
	mutex sync.Mutex
	all   []Socket
	names []Socket // that looked up the target's address
}

// list leaves out those that looked up an address, unless nothing else was sent: then the
// first of them is where the probe ended.
func (s *sockets) list() []Socket {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.all) == 0 && len(s.names) > 0 {
		return s.names[:1:1]
	}
	return slices.Clone(s.all)
}

// dialer records the sockets of a traced probe.
func (p Probe) dialer() *net.Dialer {
	if p.Trace == "" {
		return &net.Dialer{}
	}
	lookup := &net.Dialer{ControlContext: p.sockets.noteIn(&p.sockets.names)}
	return &net.Dialer{ControlContext: p.sockets.noteIn(&p.sockets.all), Resolver: &net.Resolver{PreferGo: true, Dial: lookup.DialContext}}
}

// noteIn returns a Dialer's control function. The port is bound before connecting, so that
// it is known even if nothing answers.
func (s *sockets) noteIn(list *[]Socket) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, network, remote string, raw syscall.RawConn) error {
		if network != "tcp4" && network != "udp4" {
			return nil
		}
		var err error
		control := func(fd uintptr) {
			if err = unix.Bind(int(fd), &unix.SockaddrInet4{}); err != nil {
				return
			}
			var own unix.Sockaddr
			if own, err = unix.Getsockname(int(fd)); err != nil {
				return
			}
			if own, ok := own.(*unix.SockaddrInet4); ok {
				s.mutex.Lock()
				defer s.mutex.Unlock()
				*list = append(*list, Socket{Protocol: network[:3], Port: uint16(own.Port), Remote: remote})
			}
		}
		if e := raw.Control(control); e != nil {
			return e
		}
		return err
	}
}
