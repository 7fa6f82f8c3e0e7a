package agent

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Size of a capture's ring: a slot holds a header and a frame of a usual MTU, and all slots
// what a busy Node sees while its agent waits for CPU time. All interfaces of the namespace
// share one ring, so that its order is that of the kernel.
const (
	slotSize  = 2048
	slotCount = 2048
	blockSize = 64 << 10
)

// ring is a packet socket whose frames the kernel writes into shared memory.
type ring struct {
	fd     int
	memory []byte
	at     int // the slot that the kernel fills next
}

// openRing starts to capture IPv4 and ARP, except TCP from or to some ports.
func openRing(without []uint16) (_ *ring, err error) {
	// Protocol 0 receives nothing: no frame arrives before the filter is in place.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	r := &ring{fd: fd}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	program, err := bpf.Assemble(filter(without))
	if err != nil {
		return nil, fmt.Errorf("assemble the capture's filter: %w", err)
	}
	raw := make([]unix.SockFilter, len(program))
	for i, p := range program {
		raw[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	prog := unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return nil, fmt.Errorf("attach the capture's filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return nil, fmt.Errorf("set the packet ring's version: %w", err)
	}
	size := unix.TpacketReq{Block_size: blockSize, Block_nr: slotSize * slotCount / blockSize, Frame_size: slotSize, Frame_nr: slotCount}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &size); err != nil {
		return nil, fmt.Errorf("make a packet ring: %w", err)
	}
	r.memory, err = unix.Mmap(fd, 0, slotSize*slotCount, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map a packet ring: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL)}); err != nil {
		return nil, fmt.Errorf("bind a packet socket: %w", err)
	}
	return r, nil
}

func (r *ring) close() {
	if r.memory != nil {
		unix.Munmap(r.memory)
	}
	unix.Close(r.fd)
}

// next returns the oldest frame that was not returned yet.
func (r *ring) next() (Frame, bool) {
	slot := r.memory[r.at*slotSize : (r.at+1)*slotSize]
	h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
	if atomic.LoadUint32(&h.Status)&unix.TP_STATUS_USER == 0 {
		return Frame{}, false
	}
	from := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&slot[unix.SizeofTpacket2Hdr]))
	f := Frame{
		Nanos: int64(h.Sec)*1e9 + int64(h.Nsec), Link: int(from.Ifindex), Out: from.Pkttype == unix.PACKET_OUTGOING,
		Raw:    from.Hatype != unix.ARPHRD_ETHER && from.Hatype != unix.ARPHRD_LOOPBACK,
		Length: int(h.Len),
		Data:   slices.Clone(slot[h.Mac : uint32(h.Mac)+h.Snaplen]),
	}
	atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
	r.at = (r.at + 1) % slotCount
	return f, true
}

// wait returns when there is a frame, or after a while.
func (r *ring) wait(d time.Duration) {
	unix.Poll([]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}, int(d.Milliseconds()))
}

// missed is how many frames found no free slot since the last call.
func (r *ring) missed() int {
	s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return int(s.Drops)
}

// fromIP makes an offset count from the IP header (SKF_NET_OFF of linux/filter.h):
// interfaces differ in the header before it.
func fromIP(offset uint32) uint32 { return 0xfff00000 + offset }

// filter accepts ARP and IPv4, except TCP from or to some ports.
func filter(without []uint16) []bpf.Instruction {
	const accept, drop = -1, -2
	var program []bpf.Instruction
	type jump struct{ at, to int } // where its condition holds; else the next instruction
	var jumps []jump
	add := func(i ...bpf.Instruction) { program = append(program, i...) }
	when := func(cond bpf.JumpTest, value uint32, to int) {
		jumps = append(jumps, jump{len(program), to})
		add(bpf.JumpIf{Cond: cond, Val: value})
	}
	add(bpf.LoadExtension{Num: bpf.ExtProto})
	when(bpf.JumpEqual, etherARP, accept)
	when(bpf.JumpNotEqual, unix.ETH_P_IP, drop)
	add(bpf.LoadAbsolute{Off: fromIP(9), Size: 1})
	when(bpf.JumpNotEqual, unix.IPPROTO_TCP, accept)
	add(bpf.LoadAbsolute{Off: fromIP(6), Size: 2})
	when(bpf.JumpBitsSet, 0x1fff, accept) // a later fragment has no ports
	add(bpf.LoadAbsolute{Off: fromIP(0), Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2}, bpf.TAX{})
	for _, offset := range []uint32{0, 2} { // source, destination
		add(bpf.LoadIndirect{Off: fromIP(offset), Size: 2})
		for _, port := range without[:min(len(without), 50)] {
			when(bpf.JumpEqual, uint32(port), drop)
		}
	}
	ends := map[int]int{accept: len(program), drop: len(program) + 1}
	add(bpf.RetConstant{Val: 1 << 16}, bpf.RetConstant{Val: 0})
	for _, j := range jumps {
		i := program[j.at].(bpf.JumpIf)
		i.SkipTrue = uint8(ends[j.to] - j.at - 1)
		program[j.at] = i
	}
	return program
}
