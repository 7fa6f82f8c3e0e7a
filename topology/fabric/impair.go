package fabric

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// A link is impaired at the switch, in both directions, and the machine's own network stays as it was. What
// the bridge sends to the machine waits in the queueing discipline (qdisc) of the port. What the machine
// sends is redirected where it arrives at the port, since a qdisc delays only what a device sends: to an ifb
// device of the port, waits there, and returns to the port (tc-mirred(8)).

// Kernel is a part of the kernel that impairing links requires.
type Kernel struct {
	Option, Module string
	Field          string // of the Impairment that requires it; "" for each
}

// The parts of the kernel for the links of an Impairment.
var (
	kernelIFB     = Kernel{"CONFIG_IFB", "ifb", ""}
	kernelIngress = Kernel{"CONFIG_NET_SCH_INGRESS", "sch_ingress", ""}
	kernelU32     = Kernel{"CONFIG_NET_CLS_U32", "cls_u32", ""}
	kernelMirred  = Kernel{"CONFIG_NET_ACT_MIRRED", "act_mirred", ""}
	kernelTBF     = Kernel{"CONFIG_NET_SCH_TBF", "sch_tbf", "rate"}
	kernelNetem   = Kernel{"CONFIG_NET_SCH_NETEM", "sch_netem", "delay"}
)

// ImpairRequires lists what an Impairment requires of the kernel.
func ImpairRequires(i labs.Impairment) (all []Kernel) {
	if i.None() {
		return nil
	}
	all = []Kernel{kernelIFB, kernelIngress, kernelU32, kernelMirred}
	if i.Rate > 0 {
		all = append(all, kernelTBF)
	}
	if i.Emulated() {
		netem := kernelNetem
		if i.Delay.Duration == 0 {
			netem.Field = "loss"
		}
		all = append(all, netem)
	}
	return all
}

// Impair makes the links of NICs as impaired as said, and no others.
func Impair(ctx context.Context, lab labs.Name, nics []topology.NIC, i labs.Impairment) error {
	return changeFabric(ctx, lab, func(s *space) error {
		var errs []error
		for _, nic := range nics {
			if s.links[nic.Port] == nil {
				errs = append(errs, fmt.Errorf("port %s of %s not found", nic.Port, nic.Name))
				continue
			}
			is, err := s.quality(nic)
			if err == nil && is != qualityOf(i) {
				err = s.impair(nic, i)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// Impaired returns how the links of machines with ports in this fabric are impaired.
func Impaired(plan topology.Plan) (topology.Impaired, error) {
	all := topology.Impaired{}
	err := Enter(plan.Lab, "", func() error {
		return withSpace(func(s *space) error {
			for _, m := range plan.Machines {
				for _, nic := range m.NICs {
					if s.links[nic.Port] == nil {
						continue
					}
					is, err := s.quality(nic)
					if err != nil {
						return err
					}
					all.Set(m.Name, nic.Name, cmp.Or(is.to, is.from))
				}
			}
			return nil
		})
	})
	return all, err
}

// impair makes the link of a NIC as impaired as planned.
func (w *work) impair(s *space, m topology.Machine, nic topology.NIC) {
	if s.links[nic.Port] == nil {
		return // that it is missing is reported
	}
	is, err := s.quality(nic)
	want := w.plan.Impairment(nic)
	if !w.check("list the queueing disciplines of "+m.Name+" "+nic.Name, err) || is == qualityOf(want) {
		return
	}
	change := fmt.Sprintf("impair the link of %s %s: %s", m.Name, nic.Name, want)
	if want.None() {
		change = fmt.Sprintf("stop impairing the link of %s %s", m.Name, nic.Name)
	}
	w.do(change, func() error { return s.impair(nic, want) })
}

// quality is how a link is impaired.
type quality struct {
	to, from   labs.Impairment // the machine
	ifb        bool            // there is the device for what the machine sends,
	redirected bool            // and it is sent there
}

func qualityOf(i labs.Impairment) quality { return quality{i, i, !i.None(), !i.None()} }

// ifbOf names the ifb device of a port.
func ifbOf(port string) string { return fmt.Sprintf("ifb-%x", sha256.Sum256([]byte(port)))[:15] }

// quality reads the state of a NIC's link.
func (s *space) quality(nic topology.NIC) (q quality, err error) {
	if s.qdiscs == nil {
		all, err := retryDump(func() ([]netlink.Qdisc, error) { return s.QdiscList(nil) })
		if err != nil {
			return q, err
		}
		s.qdiscs = map[int][]netlink.Qdisc{}
		for _, d := range all {
			at := d.Attrs().LinkIndex
			s.qdiscs[at] = append(s.qdiscs[at], d)
		}
	}
	if port := s.links[nic.Port]; port != nil {
		of := s.qdiscs[port.Attrs().Index]
		q.to = impairmentOf(of)
		q.redirected = slices.ContainsFunc(of, isIngress)
	}
	if ifb := s.links[ifbOf(nic.Port)]; ifb != nil {
		q.ifb, q.from = true, impairmentOf(s.qdiscs[ifb.Attrs().Index])
	}
	return q, nil
}

func isIngress(d netlink.Qdisc) bool { return d.Type() == "ingress" }

// impair replaces the impairment of a NIC's link. If it cannot, the link stays as it was.
func (s *space) impair(nic topology.NIC, i labs.Impairment) error {
	was, err := s.quality(nic)
	if err != nil {
		return err
	}
	if err := s.replace(nic, i); err != nil {
		return errors.Join(err, s.replace(nic, was.to))
	}
	return nil
}

func (s *space) replace(nic topology.NIC, i labs.Impairment) error {
	port, name := s.links[nic.Port], ifbOf(nic.Port)
	s.qdiscs = nil
	if err := s.free(port, name); err != nil || i.None() {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group, attrs.MTU = name, linkGroup, nic.MTU
	if err := s.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}); err != nil {
		return lacking(err, kernelIFB)
	}
	if err := s.refresh(name); err != nil {
		return err
	}
	ifb := s.links[name]
	if err := s.LinkSetUp(ifb); err != nil {
		return err
	}
	for _, l := range []netlink.Link{port, ifb} {
		for _, d := range qdiscsOf(l.Attrs().Index, i) {
			kernel := kernelTBF
			if d.Type() == "netem" {
				kernel = kernelNetem
			}
			if err := s.QdiscAdd(d); err != nil {
				return lacking(err, kernel)
			}
		}
	}
	at := netlink.QdiscAttrs{LinkIndex: port.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}
	if err := s.QdiscAdd(&netlink.Ingress{QdiscAttrs: at}); err != nil {
		return lacking(err, kernelIngress)
	}
	return lacking(s.FilterAdd(&netlink.U32{ // of all packets
		FilterAttrs: netlink.FilterAttrs{LinkIndex: at.LinkIndex, Parent: at.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{netlink.NewMirredAction(ifb.Attrs().Index)},
	}), kernelU32, kernelMirred)
}

// free removes what impairs a port's link. The redirection ends before its device does: what is redirected
// to no device is lost.
func (s *space) free(port netlink.Link, ifb string) error {
	all, err := retryDump(func() ([]netlink.Qdisc, error) { return s.QdiscList(port) })
	if err != nil {
		return err
	}
	for _, d := range all {
		root := d.Attrs().Parent == netlink.HANDLE_ROOT && !impairmentOf([]netlink.Qdisc{d}).None()
		if !root && !isIngress(d) {
			continue
		}
		if err := s.QdiscDel(d); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove the %s of %s: %w", d.Type(), port.Attrs().Name, err)
		}
	}
	return s.removeIFB(ifb)
}

// removeIFB removes the ifb device of a port.
func (s *space) removeIFB(name string) error {
	l, there := s.links[name]
	if !there {
		return nil
	}
	delete(s.links, name)
	return ignoreNotFound(s.LinkDel(l))
}

// lacking is the error of what the kernel has no support for. It does not know the kind of a qdisc, filter
// or action that it lacks (ENOENT), nor that of a link (EOPNOTSUPP).
func lacking(err error, parts ...Kernel) error {
	if err == nil || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	var options, modules []string
	for _, k := range parts {
		options, modules = append(options, k.Option), append(modules, k.Module)
	}
	return hint.With(fmt.Errorf("the kernel has no %s: %w", strings.Join(options, " or "), err),
		"modprobe "+strings.Join(modules, " ")+", or use a kernel that has it")
}

// The sizes of queues. A token bucket holds what the rate sends in burstTime, so that the kernel's timers
// keep up with it, and a jumbo frame at least.
const (
	burstTime = 2 * time.Millisecond
	largest   = 9216 // bytes
	smallest  = 64   // bytes of an Ethernet frame
	// unlimitedFlight is how many packets wait for their delay without a rate: 50 ms of 200,000 a second.
	unlimitedFlight = 10_000
	// maxFlight bounds the memory of a link with a high rate and a long delay.
	maxFlight = 1_000_000
)

// qdiscsOf are the queueing disciplines of a link, outermost first: the rate's, which splits what TCP hands
// over in one piece (GSO) into packets, holds that of delay and loss, which then lose packets and not pieces.
func qdiscsOf(link int, i labs.Impairment) (all []netlink.Qdisc) {
	parent, bytes := uint32(netlink.HANDLE_ROOT), float64(i.Rate)/8
	if i.Rate > 0 {
		burst := max(burstTime, time.Duration(largest/bytes*float64(time.Second)))
		all = append(all, &netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link, Handle: netlink.MakeHandle(1, 0), Parent: parent},
			Rate:       uint64(i.Rate) / 8,
			Buffer:     uint32(float64(burst.Microseconds()) * netlink.TickInUsec()),
			Limit:      uint32(topology.Queue(i.Rate) + bytes*burst.Seconds()),
		})
		parent = netlink.MakeHandle(1, 1)
	}
	if i.Emulated() {
		waiting := uint32(unlimitedFlight)
		if i.Rate > 0 {
			inFlight := bytes*(i.Delay.Seconds()+i.Jitter.Seconds()) + topology.Queue(i.Rate)
			waiting = uint32(min(inFlight/smallest, maxFlight))
		}
		netem := netlink.NewNetem(netlink.QdiscAttrs{LinkIndex: link, Handle: netlink.MakeHandle(2, 0), Parent: parent},
			netlink.NetemQdiscAttrs{Latency: uint32(i.Delay.Microseconds()), Jitter: uint32(i.Jitter.Microseconds()), Limit: waiting})
		netem.Loss = uint32(math.Round(float64(i.Loss) / float64(allLost) * math.MaxUint32))
		all = append(all, netem)
	}
	return all
}

// allLost is 100 %.
const allLost labs.Percent = 100_000

// impairmentOf reads what qdiscsOf made; other queueing disciplines impair nothing.
func impairmentOf(all []netlink.Qdisc) (i labs.Impairment) {
	wait := func(ticks uint32) labs.Duration {
		return labs.Duration{Duration: time.Duration(math.Round(float64(ticks)/netlink.TickInUsec())) * time.Microsecond}
	}
	for _, d := range all {
		switch d := d.(type) {
		case *netlink.Tbf:
			i.Rate = labs.Rate(d.Rate * 8)
		case *netlink.Netem:
			i.Delay, i.Jitter = wait(d.Latency), wait(d.Jitter)
			i.Loss = labs.Percent(math.Round(float64(d.Loss) / math.MaxUint32 * float64(allLost)))
		}
	}
	return i
}
