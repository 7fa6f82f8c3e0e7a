package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// packet is a packet of libvirt's RPC protocol: its length, program, version, procedure, type,
// serial number, status, and payload.
func packet(kind, serial, status uint32, payload []byte) []byte {
	var p []byte
	for _, word := range []uint32{uint32(headerSize + len(payload)), 0x20008086, 1, 1, kind, serial, status} {
		p = binary.BigEndian.AppendUint32(p, word)
	}
	return append(p, payload...)
}

// Headers are found wherever reads and writes cut the stream.
func TestPackets(t *testing.T) {
	stream := slices.Concat(packet(socket.Call, 1, 0, []byte("payload")), packet(socket.Reply, 2, 0, nil), packet(socket.Stream, 3, socket.StatusContinue, make([]byte, 100)))
	for _, size := range []int{1, 3, 28, 29, len(stream)} {
		var found []uint32
		s := packets{each: func(h socket.Header) { found = append(found, h.Type, uint32(h.Serial), h.Status) }}
		for piece := range slices.Chunk(stream, size) {
			s.pass(piece)
		}
		if want := []uint32{socket.Call, 1, 0, socket.Reply, 2, 0, socket.Stream, 3, socket.StatusContinue}; !slices.Equal(found, want) {
			t.Errorf("in pieces of %d: %v, want %v", size, found, want)
		}
	}
}

// A call that is not answered ends at its limit, though others are answered; then all calls end.
func TestCallLimit(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	a := newAnswering(here)
	a.setLimit(200 * time.Millisecond)
	go func() { // it answers every call but that with the number 2
		for {
			header := make([]byte, headerSize)
			if _, err := io.ReadFull(there, header); err != nil {
				return
			}
			if serial := binary.BigEndian.Uint32(header[20:]); serial != 2 {
				there.Write(packet(socket.Reply, serial, 0, nil))
			}
		}
	}()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, readOnly{a})
		ended <- err
	}()
	began := time.Now()
	for serial := uint32(1); ; serial++ {
		if _, err := a.Write(packet(socket.Call, serial, 0, nil)); err != nil {
			if took := time.Since(began); took < 200*time.Millisecond || took > 10*time.Second || !strings.Contains(err.Error(), "the daemon does not answer") {
				t.Errorf("after %s: %v", took, err)
			}
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the daemon does not answer") {
		t.Errorf("reading ends with %v", err)
	}
}

type readOnly struct{ io.Reader }

// A connection on which every call was answered may be idle for ever.
func TestIdleConnection(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	a := newAnswering(here)
	a.setLimit(time.Hour)
	go io.Copy(io.Discard, readOnly{a})
	go there.Read(make([]byte, headerSize))
	if _, err := a.Write(packet(socket.Call, 1, 0, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := there.Write(packet(socket.Reply, 1, 0, nil)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		left := len(a.waiting)
		a.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the answer is not seen")
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer.Stop() {
		t.Error("a timer runs that would close it")
	}
}

// A daemon that accepts connections and never answers (a stopped libvirtd) hangs neither `netlab
// list` nor a call of go-libvirt.
func TestHungDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "libvirt-sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = connect(ctx, "qemu:///system?socket="+path)
	var hinted interface{ Hint() string }
	if took := time.Since(began); took > 5*time.Second || err == nil || !strings.Contains(err.Error(), "does not answer") || !errors.As(err, &hinted) {
		t.Errorf("after %s: %v", took, err)
	}

	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	a := newAnswering(conn)
	client := libvirt.NewWithDialer(dialers.NewAlreadyConnected(a))
	began = time.Now()
	err = a.within(200*time.Millisecond, client.Connect)
	if took := time.Since(began); took > 5*time.Second || err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("after %s go-libvirt says %v", took, err)
	}
}
