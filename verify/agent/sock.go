package agent

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// sock is a TCP socket that blocks its thread. Go's own sockets wait in the runtime's
// poller, which adds microseconds to each wait and has timers of milliseconds; the times
// measured here are shorter.
type sock int

// patience is how long one read, write or connect of a sock may take.
const patience = 3 * time.Second

func newSock() (sock, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	return sock(fd), nil
}

func (s sock) tune() error {
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, option, &limit); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(int(s), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func dialSock(to netip.AddrPort) (sock, error) {
	s, err := newSock()
	if err != nil {
		return s, err
	}
	err = s.tune()
	if err == nil {
		err = unix.Connect(int(s), &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err == unix.EINTR {
		err = s.connected()
	}
	if err != nil {
		s.Close()
		return s, fmt.Errorf("connect to %s: %w", to, timedOut(err))
	}
	return s, nil
}

// connected waits for a connect that a signal interrupted: it goes on by itself.
func (s sock) connected() error {
	poll := []unix.PollFd{{Fd: int32(s), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(poll, int(patience.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		}
		code, err := unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}

// timedOut converts the error of a blocking call that timed out.
func timedOut(err error) error {
	if err == unix.EAGAIN || err == unix.EINPROGRESS {
		return unix.ETIMEDOUT
	}
	return err
}

func listenSock(at netip.AddrPort) (sock, error) {
	s, err := newSock()
	if err != nil {
		return s, err
	}
	err = unix.SetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(int(s), &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	}
	if err == nil {
		err = unix.Listen(int(s), 128)
	}
	if err != nil {
		s.Close()
		return s, fmt.Errorf("listen on %s: %w", at, err)
	}
	return s, nil
}

func (s sock) accept() (sock, error) {
	for {
		fd, _, err := unix.Accept4(int(s), unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return -1, err
		}
		return sock(fd), sock(fd).tune()
	}
}

// Read implements io.Reader.
func (s sock) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("read: %w", timedOut(err))
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write implements io.Writer.
func (s sock) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := unix.Write(int(s), b[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("write: %w", timedOut(err))
		}
		if done += n; done == len(b) {
			return done, nil
		}
	}
}

// Close implements io.Closer.
func (s sock) Close() error { return unix.Close(int(s)) }
