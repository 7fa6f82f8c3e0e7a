package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// Payload bounds of the MTU search, in bytes of UDP payload: the smallest IPv4 MTU that
// every host accepts (RFC 791: 576 less 28 of headers) and a jumbo frame.
const (
	minPayload = 548
	maxPayload = 9216
)

// mtu finds the largest UDP payload that arrives whole with Don't Fragment set. The server's
// agent confirms the size that it received; the kernel's path MTU alone is not trusted. A
// hint that proves exact (it passes, one byte more does not) saves the search.
func (p Probe) mtu(ctx context.Context) (Answer, error) {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO)
		}); e != nil {
			return e
		}
		return err
	}}
	conn, err := dialer.DialContext(ctx, "udp4", p.Target)
	if err != nil {
		return Answer{}, addressError(err)
	}
	defer conn.Close()
	s := sizer{ctx: ctx, conn: conn, patience: p.Timeout() / 6}
	if err := s.arrives(minPayload); err != nil {
		return Answer{RTTMicros: s.rtt}, err
	}
	low, high := minPayload, maxPayload+1 // low arrives, high does not
	if p.Hint > low && p.Hint < high {
		if s.arrives(p.Hint) == nil {
			low = p.Hint
			if s.arrives(p.Hint+1) != nil {
				high = p.Hint + 1
			}
		} else {
			high = p.Hint
		}
	}
	for high-low > 1 {
		if ctx.Err() != nil {
			return Answer{RTTMicros: s.rtt, Payload: low}, fmt.Errorf("largest payload is between %d and %d: %w", low, high-1, ctx.Err())
		}
		middle := (low + high) / 2
		if s.arrives(middle) == nil {
			low = middle
		} else {
			high = middle
		}
	}
	return Answer{Payload: low, RTTMicros: s.rtt}, nil
}

type sizer struct {
	ctx      context.Context
	conn     net.Conn
	patience time.Duration // for one answer
	rtt      int64         // of the first answer, in µs
	controls int           // sent so far
}

// arrives sends one datagram, again if the first was lost, and waits until the server's
// agent confirms its size. A small one that follows it is the control: whoever confirms only
// that one did not receive the other. So a busy machine that answers late loses nothing.
func (s *sizer) arrives(size int) error {
	payload, buf := make([]byte, size), make([]byte, 4096)
	err := s.ctx.Err()
	for try := 0; try < 2 && s.ctx.Err() == nil; try++ {
		start := time.Now()
		if _, err = s.conn.Write(payload); errors.Is(err, syscall.EMSGSIZE) {
			return err // larger than the interface or the path is known to carry
		}
		if err != nil {
			continue // an ICMP error of the datagram before
		}
		s.controls++
		control := s.controls // bytes; a late confirmation of an earlier one has another size
		if _, err = s.conn.Write(payload[:control]); err != nil {
			continue
		}
		_ = s.conn.SetReadDeadline(start.Add(s.patience))
		for {
			var n int
			if n, err = s.conn.Read(buf); err != nil {
				break
			}
			var seen Seen
			if json.Unmarshal(buf[:n], &seen) != nil {
				continue
			}
			if seen.Bytes == size {
				if s.rtt == 0 {
					s.rtt = time.Since(start).Microseconds()
				}
				return nil
			}
			if seen.Bytes == control {
				err = errors.New("only a smaller datagram arrived")
				break
			}
		}
	}
	return err
}

// ARP over Ethernet for IPv4, RFC 826.
const (
	etherARP   = 0x0806
	arpRequest = 1
	arpReply   = 2
	arpLength  = 28
)

// arp sends an ARP request from an interface on the address's network, and returns every MAC
// that answers: two stations that claim one address both show.
func (p Probe) arp(ctx context.Context) (Answer, error) {
	target, err := netip.ParseAddr(p.Target)
	if err != nil || !target.Is4() {
		return Answer{}, broken{fmt.Errorf("not an IPv4 address: %q", p.Target)}
	}
	link, source, err := linkTowards(target, p.Interface)
	if err != nil {
		return Answer{}, broken{err}
	}
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, int(networkOrder(etherARP)))
	if err != nil {
		return Answer{}, broken{fmt.Errorf("open an ARP socket: %w", err)}
	}
	defer syscall.Close(fd)
	here := syscall.SockaddrLinklayer{Protocol: networkOrder(etherARP), Ifindex: link.Index}
	if err := syscall.Bind(fd, &here); err != nil {
		return Answer{}, broken{fmt.Errorf("bind an ARP socket to %s: %w", link.Name, err)}
	}
	everybody := here
	everybody.Halen = 6
	copy(everybody.Addr[:], bytes.Repeat([]byte{0xff}, 6))
	start := time.Now()
	deadline := start.Add(p.Timeout())
	var a Answer
	for try := 0; len(a.MACs) == 0 && time.Now().Before(deadline) && ctx.Err() == nil; try++ {
		if err := syscall.Sendto(fd, whoHas(link.HardwareAddr, source, target), 0, &everybody); err != nil {
			return a, fmt.Errorf("send an ARP request on %s: %w", link.Name, err)
		}
		until := start.Add(time.Duration(try+1) * 300 * time.Millisecond)
		if until.After(deadline) {
			until = deadline
		}
		for wait := time.Until(until); wait > 0; wait = time.Until(until) {
			mac, err := readARP(fd, wait, target)
			if err != nil {
				return a, broken{err}
			}
			if mac == "" {
				continue
			}
			if len(a.MACs) == 0 {
				a.RTTMicros = time.Since(start).Microseconds()
				until = time.Now().Add(50 * time.Millisecond) // a second claimant answers immediately too
			}
			if !slices.Contains(a.MACs, mac) {
				a.MACs = append(a.MACs, mac)
			}
		}
	}
	if len(a.MACs) == 0 {
		return a, fmt.Errorf("no ARP reply on %s for %s: %w", link.Name, target, context.DeadlineExceeded)
	}
	slices.Sort(a.MACs)
	return a, nil
}

// linkTowards finds the interface whose network holds target, and its address there.
func linkTowards(target netip.Addr, name string) (net.Interface, netip.Addr, error) {
	links, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, netip.Addr{}, err
	}
	for _, link := range links {
		if name != "" && link.Name != name || len(link.HardwareAddr) != 6 {
			continue
		}
		addrs, err := link.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err == nil && prefix.Addr().Is4() && (prefix.Contains(target) || name != "") {
				return link, prefix.Addr(), nil
			}
		}
	}
	return net.Interface{}, netip.Addr{}, fmt.Errorf("no interface on the network of %s", target)
}

func whoHas(mac net.HardwareAddr, source, target netip.Addr) []byte {
	packet := make([]byte, 0, arpLength)
	packet = append(packet, 0, 1, 8, 0, 6, 4, 0, arpRequest) // Ethernet, IPv4, address lengths, operation
	packet = append(packet, mac...)
	packet = append(packet, source.AsSlice()...)
	packet = append(packet, 0, 0, 0, 0, 0, 0)
	return append(packet, target.AsSlice()...)
}

// readARP waits for one packet; it returns "" for a timeout and for anything but an answer.
func readARP(fd int, wait time.Duration, target netip.Addr) (string, error) {
	tv := syscall.NsecToTimeval(max(wait, time.Millisecond).Nanoseconds())
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv); err != nil {
		return "", err
	}
	buf := make([]byte, 128)
	n, _, err := syscall.Recvfrom(fd, buf, 0)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if n < arpLength || binary.BigEndian.Uint16(buf[6:8]) != arpReply || !bytes.Equal(buf[14:18], target.AsSlice()) {
		return "", nil
	}
	return net.HardwareAddr(buf[8:14]).String(), nil
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
