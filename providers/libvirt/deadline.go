package libvirt

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt/socket"
)

// The limits of a daemon's answers. go-libvirt's calls have none: a daemon that hangs would hang
// netlab, and `down` with it.
const (
	connectLimit = 10 * time.Second // of the first calls of a connection
	callLimit    = time.Minute
	findLimit    = 5 * time.Second
	memoryLimit  = 15 * time.Minute // of saving and restoring a machine's memory
)

// answering is a connection to a daemon that is closed when one of its calls is not answered within the
// limit: go-libvirt then ends all of them. It follows libvirt's RPC protocol
// (https://libvirt.org/kbase/internals/rpc.html): each packet is its length and a header, and a reply
// has its call's serial number. A stream is alive as long as it is written to.
type answering struct {
	net.Conn
	sent, received packets

	mu      sync.Mutex
	limit   time.Duration
	waiting map[uint32]time.Time // deadlines of calls, by serial number
	timer   *time.Timer
	late    bool // the connection was closed for that
}

func newAnswering(conn net.Conn) *answering {
	a := &answering{Conn: conn, limit: callLimit, waiting: map[uint32]time.Time{}}
	a.sent.each, a.received.each = a.called, a.answered
	return a
}

// Write implements net.Conn.
func (a *answering) Write(p []byte) (int, error) {
	a.sent.pass(p)
	n, err := a.Conn.Write(p)
	return n, a.explain(err)
}

// Read implements net.Conn.
func (a *answering) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	a.received.pass(p[:n])
	return n, a.explain(err)
}

// within sets the limit of the calls that do makes.
func (a *answering) within(limit time.Duration, do func() error) error {
	before := a.setLimit(limit)
	defer a.setLimit(before)
	return a.explain(do())
}

func (a *answering) setLimit(limit time.Duration) (before time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, a.limit = a.limit, limit
	return before
}

// explain gives an error its reason.
func (a *answering) explain(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && a.late {
		return fmt.Errorf("the daemon does not answer: %w", err)
	}
	return err
}

func (a *answering) called(h socket.Header) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[uint32(h.Serial)] = time.Now().Add(a.limit)
	a.watch()
}

func (a *answering) answered(h socket.Header) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h.Type == socket.Stream && h.Status == socket.StatusContinue {
		return // what the daemon sends of a stream
	}
	delete(a.waiting, uint32(h.Serial))
	a.watch()
}

// watch sets the timer to the first deadline.
func (a *answering) watch() {
	if a.timer != nil {
		a.timer.Stop()
	}
	var first time.Time
	for _, t := range a.waiting {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	if first.IsZero() {
		return
	}
	a.timer = time.AfterFunc(time.Until(first), func() {
		a.mu.Lock()
		a.late = true
		a.mu.Unlock()
		a.Conn.Close()
	})
}

// packets finds the headers of the packets in a stream of bytes.
type packets struct {
	each   func(socket.Header)
	header []byte // of the packet, as far as it was seen
	left   uint32 // bytes of the packet that follow
}

// headerSize is that of a packet's length and header.
const headerSize = 28

func (s *packets) pass(p []byte) {
	for len(p) > 0 {
		if s.left > 0 {
			n := min(uint32(len(p)), s.left)
			p, s.left = p[n:], s.left-n
			continue
		}
		n := min(len(p), headerSize-len(s.header))
		s.header, p = append(s.header, p[:n]...), p[n:]
		if len(s.header) < headerSize {
			return
		}
		word := func(i int) uint32 { return binary.BigEndian.Uint32(s.header[4*i:]) }
		s.left = max(word(0), headerSize) - headerSize
		h := socket.Header{Program: word(1), Version: word(2), Procedure: word(3), Type: word(4), Serial: int32(word(5)), Status: word(6)}
		s.header = s.header[:0]
		s.each(h)
	}
}
