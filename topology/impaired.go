package topology

import (
	"fmt"
	"slices"
	"time"

	"netlab.dev/netlab/labs"
)

// Impaired is how links are impaired now, by machine and NIC; those that are not are left out.
type Impaired map[string]map[string]labs.Impairment

// Impairment is that of a NIC's link in the plan.
func (p Plan) Impairment(nic NIC) labs.Impairment {
	n, _ := p.Network(nic.Network)
	return n.Impair
}

// Impaired is how the links of a lab are impaired that is as planned.
func (p Plan) Impaired() Impaired {
	all := Impaired{}
	for _, m := range p.Machines {
		for _, nic := range m.NICs {
			all.Set(m.Name, nic.Name, p.Impairment(nic))
		}
	}
	return all
}

// Set records the impairment of a NIC's link.
func (x Impaired) Set(machine, nic string, i labs.Impairment) {
	if i.None() {
		return
	}
	if x[machine] == nil {
		x[machine] = map[string]labs.Impairment{}
	}
	x[machine][nic] = i
}

// Lines lists the impaired links of a lab in words, those of a network that are as planned as one. Machines
// that are off have none.
func (x Impaired) Lines(p Plan, off []string) (lines []string) {
	for _, n := range p.Networks {
		planned := ""
		if !n.Impair.None() {
			planned = fmt.Sprintf("each link of network %s is impaired: %s", n.Name, n.Impair)
		}
		var others []string
		for _, m := range p.Machines {
			for _, nic := range m.NICs {
				switch is := x[m.Name][nic.Name]; {
				case nic.Network != n.Name || is == n.Impair || slices.Contains(off, m.Name):
				case is.None():
					others = append(others, fmt.Sprintf("the link of %s %s is not impaired", m.Name, nic.Name))
				default:
					others = append(others, fmt.Sprintf("the link of %s %s is impaired: %s", m.Name, nic.Name, is))
				}
			}
		}
		if planned != "" {
			lines = append(lines, planned)
		}
		lines = append(lines, others...)
	}
	return lines
}

// Link is one end of a network's cable.
type Link struct{ Machine, NIC string }

// String names the link: "w1 eth0".
func (l Link) String() string { return l.Machine + " " + l.NIC }

// Links are the links that packets to an address and their replies cross, by every way. Of those that may
// receive the packets for an address that several machines have, or that moves, receives tells which do.
func (w Reachability) Links(p Plan, receives func(machine string) bool) (links []Link) {
	add := func(machine, nic string) {
		if l := (Link{machine, nic}); nic != "" && !slices.Contains(links, l) {
			links = append(links, l)
		}
	}
	back := w.Back
	for _, hops := range append(slices.Clone(w.Others), w.There) {
		for _, h := range hops {
			add(h.From, h.Out)
			add(h.To, h.In)
			if h.To != "" {
				continue
			}
			for _, m := range p.Machines {
				if nic, on := m.On(h.Network); on && receives(m.Name) {
					add(m.Name, nic.Name)
				}
			}
			if len(back) > 0 && !receives(back[0].From) { // the way of one of those that may
				back = nil
			}
		}
	}
	for _, h := range back {
		add(h.From, h.Out)
		add(h.To, h.In)
	}
	return links
}

// Worst is what packets meet that cross some links: the smallest rate, with the link that has it, and the
// other fields of the link where they are largest.
func (x Impaired) Worst(links []Link) (worst labs.Impairment, slowest Link) {
	for _, l := range links {
		i := x[l.Machine][l.NIC]
		if i.Rate > 0 && (worst.Rate == 0 || i.Rate < worst.Rate) {
			worst.Rate, slowest = i.Rate, l
		}
		worst.Delay.Duration = max(worst.Delay.Duration, i.Delay.Duration)
		worst.Jitter.Duration = max(worst.Jitter.Duration, i.Jitter.Duration)
		worst.Loss = max(worst.Loss, i.Loss)
	}
	return worst, slowest
}

// The queue in front of a rate.
const (
	queueTime   = 50 * time.Millisecond
	queueFrames = 64   // at least,
	frame       = 1514 // of this many bytes
)

// Queue is how many bytes wait for a rate at most.
func Queue(rate labs.Rate) float64 {
	return max(float64(rate)/8*queueTime.Seconds(), queueFrames*frame)
}

// The round trips of a request on a new connection (TCP, TLS, the request), and that of its name. What TCP
// sends first is sent again after a second if it is lost (RFC 6298).
const (
	requestTrips = 4
	firstResend  = time.Second
)

// Slack is how much longer than usual an answer may take because of impaired links: for each network the
// delays of its worst link, which a round trip crosses four times, and twice as often where a Node passes
// packets on to another; the queues in front of its smallest rate, there and back.
func (x Impaired) Slack(p Plan) (slack time.Duration) {
	lost := false
	for _, n := range p.Networks {
		var all []Link
		for _, m := range p.Machines {
			for _, nic := range m.NICs {
				if nic.Network == n.Name {
					all = append(all, Link{m.Name, nic.Name})
				}
			}
		}
		worst, _ := x.Worst(all)
		slack += 2 * 4 * requestTrips * (worst.Delay.Duration + worst.Jitter.Duration)
		if worst.Rate > 0 {
			slack += 2 * time.Duration(Queue(worst.Rate)*8/float64(worst.Rate)*float64(time.Second))
		}
		lost = lost || worst.Loss > 0
	}
	if lost {
		slack += firstResend
	}
	return slack
}
