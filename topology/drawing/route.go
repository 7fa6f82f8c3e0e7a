package drawing

import (
	"fmt"
	"math"
	"slices"
)

// Stop is a point of a packet's route, where it was captured, starts or ends: an interface of a machine,
// or of a Pod in it. Without an interface it is the Pod or the machine itself.
type Stop struct {
	Machine   string
	Pod       string // in whose namespace the interface is; "" for the machine's own
	Interface string
	Peer      string // the Pod at the other end of a machine's veth
}

// Leg is the path between two Stops.
type Leg struct {
	Path string // SVG path data
	// Wired is set where Path follows the drawn wires and machines. Otherwise the path between
	// is unknown, and Path is a plain curve.
	Wired bool
}

const (
	vethGap = 7.0  // between a Pod and the Node's end of its veth
	inward  = 18.0 // depth in the machine of a path between two NICs on the same edge
	besides = 5.0  // between the edge of a bar and a path along it
)

// At returns the position of a Stop; false where the drawing does not have it.
func (d Drawing) At(s Stop) (Point, bool) {
	b, ok := d.box(s.Machine)
	if !ok {
		return Point{}, false
	}
	if pod := s.Pod + s.Peer; pod != "" {
		c, ok := b.chip(func(c Chip) bool { return c.Pod == pod })
		if !ok {
			return Point{}, false
		}
		at := c.edge()
		if s.Pod == "" {
			at.X -= vethGap
		}
		return at, true
	}
	if p, ok := b.port(s.Interface); ok {
		return p.Wire[0], true
	}
	if c, ok := b.chip(func(c Chip) bool { return c.Interface == s.Interface && c.Pod == "" }); ok {
		return c.edge(), true
	}
	return Point{b.inside - vethGap, b.self}, true
}

// Leg returns the path from one Stop to another: in a machine along the lane of its ports,
// between NICs of one network along the wires, otherwise a plain curve. It is false where the
// drawing does not have one of them.
func (d Drawing) Leg(from, to Stop) (Leg, bool) {
	a, ok := d.At(from)
	b, there := d.At(to)
	if !ok || !there {
		return Leg{}, false
	}
	if from.Machine == to.Machine {
		box, _ := d.box(from.Machine)
		return Leg{Path: polyline(compact(box.inner(from.port(box), to.port(box), a, b))), Wired: true}, true
	}
	boxA, _ := d.box(from.Machine)
	boxB, _ := d.box(to.Machine)
	p, q := from.port(boxA), to.port(boxB)
	if p == nil || q == nil || p.Network != q.Network {
		return d.Straight(from, to)
	}
	bar, _ := d.bar(p.Network)
	along := bar.Y + bar.H - besides // below the bar's texts, or above them
	if a.Y < bar.Y && b.Y < bar.Y {
		along = bar.Y + besides
	}
	points := slices.Clone(p.Wire)
	points = append(points, Point{points[len(points)-1].X, along}, Point{q.Wire[len(q.Wire)-1].X, along})
	for _, corner := range slices.Backward(q.Wire) {
		points = append(points, corner)
	}
	return Leg{Path: polyline(compact(points)), Wired: true}, true
}

// Straight is a plain curve from one Stop to another.
func (d Drawing) Straight(from, to Stop) (Leg, bool) {
	a, ok := d.At(from)
	b, there := d.At(to)
	if !ok || !there {
		return Leg{}, false
	}
	// Bent slightly to the left of its direction, so that both directions are visible.
	dx, dy := b.X-a.X, b.Y-a.Y
	bend := 0.12
	if math.Abs(dx) < 1 { // in one column: into the lane, not over the chips
		bend = math.Copysign(min(0.3, vethGap*2/max(math.Abs(dy), 1)), dy)
	}
	middle := Point{(a.X+b.X)/2 - bend*dy, (a.Y+b.Y)/2 + bend*dx}
	return Leg{Path: fmt.Sprintf("M%s %sQ%s %s %s %s", number(a.X), number(a.Y), number(middle.X), number(middle.Y), number(b.X), number(b.Y))}, true
}

// port is the NIC that a Stop is at, nil for none.
func (s Stop) port(b Box) *Port {
	if s.Pod+s.Peer != "" {
		return nil
	}
	if p, ok := b.port(s.Interface); ok {
		return &p
	}
	return nil
}

// inner returns the path in a box: along the lane of a NIC where it starts or ends at one.
func (b Box) inner(p, q *Port, from, to Point) []Point {
	lane := b.X + lane/2
	switch {
	case p != nil && q != nil && p.up == q.up:
		y := from.Y + inward
		if !p.up {
			y = from.Y - inward
		}
		return []Point{from, {from.X, y}, {to.X, y}, to}
	case p != nil && q != nil:
		y := (from.Y + to.Y) / 2
		return []Point{from, {from.X, y}, {to.X, y}, to}
	case p != nil:
		lane = from.X
	case q != nil:
		lane = to.X
	}
	return []Point{from, {lane, from.Y}, {lane, to.Y}, to}
}

func (b Box) chip(is func(Chip) bool) (Chip, bool) {
	i := slices.IndexFunc(b.Chips, is)
	if i < 0 {
		return Chip{}, false
	}
	return b.Chips[i], true
}

// edge is the point where paths to a chip end.
func (c Chip) edge() Point { return Point{c.X, c.Y + c.H/2} }

// compact removes corners at the position of the previous one.
func compact(points []Point) []Point { return slices.Compact(points) }
