package page

import (
	"math"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/drawing"
	"netlab.dev/netlab/verify/report"
)

// way is the geometry of a path for page.js. Each place and line is there twice: for the wide
// drawing and for the narrow one.
type way struct {
	Ends  []end  `json:"ends"`           // the source and destination, to be marked
	Steps []step `json:"steps"`          // one per hop; without evidence a line from source to destination
	Hops  bool   `json:"hops"`           // Steps are hops
	Lost  bool   `json:"lost,omitempty"` // the last hop is the last that was seen
	// Label is the measured figure and its interval, written next to the line.
	Label []string `json:"label,omitempty"`
}

// end is a machine or a Pod of the drawing.
type end struct {
	Machine string `json:"machine"`
	Pod     string `json:"pod,omitempty"`
}

// step is a hop, with the line that leads to it.
type step struct {
	Kind   string      `json:"kind"` // request, reply, or ends
	At     [2][]int    `json:"at"`   // x and y; empty where the drawing does not have it
	Line   [2]string   `json:"line"` // SVG path data; "" for none
	Hidden bool        `json:"hidden,omitempty"`
	from   *report.Hop // where Line starts
}

type pathfinder struct {
	plan     topology.Plan
	scene    scene
	drawings [2]drawing.Drawing
}

// of returns the way of a path: along its hops, or else from source to destination.
func (f pathfinder) of(p report.Result) way {
	w := way{Ends: []end{}, Steps: []step{}, Label: label(p)}
	from, _ := f.stops(p.From, p.Observed)
	to, _ := f.stops(p.To, p.Observed)
	for _, s := range append(from, to...) {
		w.Ends = append(w.Ends, end{s.Machine, s.Pod})
	}
	if p.Evidence != nil && len(p.Evidence.Hops) > 0 {
		w.Hops, w.Steps, w.Lost = true, f.hops(p.Evidence.Hops), p.Evidence.Lost != ""
		return w
	}
	if len(from) == 0 {
		return w
	}
	start := f.nic(from[0], p.From)
	for _, s := range to {
		step := step{Kind: "ends", Hidden: true}
		for i, d := range f.drawings {
			wire, ok := d.Leg(start, f.nic(s, p.To))
			if ok && wire.Wired && s != from[0] {
				step.At[i], step.Line[i] = place(d, f.nic(s, p.To)), wire.Path
				continue
			}
			step.At[i] = place(d, s)
			if leg, ok := d.Straight(from[0], s); ok && s != from[0] {
				step.Line[i] = leg.Path
			}
		}
		w.Steps = append(w.Steps, step)
	}
	return w
}

// nic is the NIC of a machine that has an end's address, or else the Stop itself.
func (f pathfinder) nic(s drawing.Stop, e report.End) drawing.Stop {
	m, _ := f.plan.Machine(s.Machine)
	for _, nic := range m.NICs {
		if s.Pod == "" && nic.Address().Addr().String() == e.IP {
			s.Interface = nic.Name
		}
	}
	return s
}

// measured reports that a path has figures.
func measured(p report.Result) bool { return p.Throughput != nil || p.Latency != nil }

// lent returns the hops of another path of the report for a measured path, if any: one with
// the same client and destination whose packets arrived. Measurements are not captured.
func lent(r report.Report, p report.Result) (_ report.Result, by string) {
	if !measured(p) || p.Evidence != nil {
		return p, ""
	}
	for _, q := range r.Paths {
		if q.From == p.From && q.To == p.To && q.Outcome == report.Pass && q.Evidence != nil && len(q.Evidence.Hops) > 0 && q.Evidence.Lost == "" {
			p.Evidence = &report.Evidence{Hops: q.Evidence.Hops, Hidden: q.Evidence.Hidden}
			return p, q.ID
		}
	}
	return p, ""
}

// stops returns the places of an end in the drawing. An address has none: instead these are
// the Pods that answered, and named is false.
func (f pathfinder) stops(e report.End, seen report.Observed) (stops []drawing.Stop, named bool) {
	switch e.Kind {
	case report.AtPod, report.AtContainer:
		return []drawing.Stop{{Machine: e.Node, Pod: podOf(e)}}, true
	case report.AtNode, report.AtHost:
		return []drawing.Stop{{Machine: e.Name}}, true
	case report.AtNodePort:
		return []drawing.Stop{{Machine: e.Node}}, true
	case "":
		return nil, true
	}
	for _, backend := range strings.Split(seen.Backend, ",") {
		if node := f.scene.node(backend); node != "" {
			stops = append(stops, drawing.Stop{Machine: node, Pod: backend})
		} else if _, machine := f.plan.Machine(backend); machine {
			stops = append(stops, drawing.Stop{Machine: backend})
		}
	}
	return stops, false
}

// hops sets each hop's place, and the line from where its packet was seen before.
func (f pathfinder) hops(hops []report.Hop) []step {
	steps := make([]step, len(hops))
	for i, h := range hops {
		s := &steps[i]
		s.Kind = h.Leg
		s.from = f.before(hops[:i], h)
		s.Hidden = s.from != nil && !f.adjoin(*s.from, h)
		for k, d := range f.drawings {
			s.At[k] = place(d, stopOf(h))
			if s.from == nil || stopOf(*s.from) == stopOf(h) {
				continue
			}
			leg, ok := d.Leg(stopOf(*s.from), stopOf(h))
			if s.Hidden && !leg.Wired {
				leg, ok = d.Straight(stopOf(*s.from), stopOf(h))
			}
			if ok {
				s.Line[k] = leg.Path
			}
		}
	}
	return steps
}

// before finds where a packet was before a hop: a packet that enters by a NIC left one of the
// same network; else it was in the same machine; else where it was seen last.
func (f pathfinder) before(earlier []report.Hop, h report.Hop) *report.Hop {
	latest := func(is func(report.Hop) bool) *report.Hop {
		for i := len(earlier) - 1; i >= 0; i-- {
			if e := earlier[i]; e.Leg == h.Leg && e.Packet == h.Packet && is(e) {
				return &earlier[i]
			}
		}
		return nil
	}
	entry := ""
	if h.Pod == "" && h.Direction == "in" {
		entry = networkOf(f.plan, h.Machine, h.Interface)
	}
	var found *report.Hop
	if entry != "" {
		found = latest(func(e report.Hop) bool {
			return e.Pod == "" && e.Direction == "out" && e.Machine != h.Machine && networkOf(f.plan, e.Machine, e.Interface) == entry
		})
	} else {
		found = latest(func(e report.Hop) bool { return e.Machine == h.Machine })
	}
	if found == nil {
		found = latest(func(report.Hop) bool { return true })
	}
	return found
}

// adjoin reports that there is no interface between two hops: they are on one network, in one
// namespace, or the two ends of a veth.
func (f pathfinder) adjoin(a, b report.Hop) bool {
	switch {
	case a.Machine != b.Machine:
		n := networkOf(f.plan, a.Machine, a.Interface)
		return a.Pod+b.Pod == "" && n != "" && n == networkOf(f.plan, b.Machine, b.Interface)
	case a.Pod == b.Pod:
		return true
	case a.Pod == "":
		return a.Peer == b.Pod
	case b.Pod == "":
		return b.Peer == a.Pod
	}
	return false
}

func stopOf(h report.Hop) drawing.Stop {
	s := drawing.Stop{Machine: h.Machine, Pod: h.Pod, Interface: h.Interface, Peer: h.Peer}
	if h.Pod != "" {
		s.Peer = ""
	}
	return s
}

func place(d drawing.Drawing, s drawing.Stop) []int {
	at, ok := d.At(s)
	if !ok {
		return []int{}
	}
	return []int{int(math.Round(at.X)), int(math.Round(at.Y))}
}
