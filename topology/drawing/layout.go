package drawing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
)

// Distances, in pixels.
const (
	margin    = 12.0 // around everything
	rowGap    = 34.0 // above and below each row of boxes, for wires
	pad       = 10.0 // inside a box
	lane      = 26.0 // left part of a box where wires run, with one NIC
	lanePitch = 10.0 // more of it for each NIC beyond the first
	line      = 17.0
	chipGap   = 5.0
	minBox    = 150.0
	maxBox    = 230.0
	gutter    = 30.0 // between columns
	wirePitch = 8.0  // between wires in one gutter
)

// layout places a plan's networks and machines.
type layout struct {
	plan    topology.Plan
	options Options
	order   []string // networks, from above
	main    int      // the one of order that all Nodes share
	rows    []row
	column  float64 // width of a column
	columns int
	gutter  float64
	width   float64
	height  float64
	bars    []Bar
}

// row is machines side by side. Band b lies above bar b; the last band below the last bar.
type row struct {
	band     int
	boxes    []Box
	y, h     float64
	crossed  bool // a wire passes in its gutters, so its boxes keep to the columns
	first    bool // of its band
	last     bool
	firstCol int
}

func newLayout(plan topology.Plan, o Options) *layout {
	l := &layout{plan: plan, options: o}
	l.orderNetworks()
	bands := map[int][]topology.Machine{}
	for _, m := range plan.Machines {
		b := l.band(m)
		bands[b] = append(bands[b], m)
	}
	for b := 0; b <= len(l.order); b++ {
		machines := bands[b]
		count := (len(machines) + o.Columns - 1) / o.Columns
		for i := range count {
			// Rows of one band have about the same length: 7 machines are 4 and 3.
			from, to := len(machines)*i/count, len(machines)*(i+1)/count
			r := row{band: b, first: i == 0, last: i == count-1}
			for _, m := range machines[from:to] {
				r.boxes = append(r.boxes, Box{Machine: m.Name, Kind: m.Kind})
			}
			l.rows = append(l.rows, r)
			l.columns = max(l.columns, len(r.boxes))
		}
	}
	return l
}

// orderNetworks sorts networks without Nodes above the main network of the Nodes, the farthest
// first, and the other networks of the Nodes below it.
func (l *layout) orderNetworks() {
	distance, withNodes := map[string]int{}, map[string]bool{}
	main := l.plan.Networks[0].Name
	for _, m := range l.plan.Nodes() {
		for _, nic := range m.NICs {
			withNodes[nic.Network] = true
		}
		main = m.NICs[0].Network
	}
	distance[main] = 0
	for range l.plan.Networks { // no network is farther away than this
		for _, m := range l.plan.Machines {
			for _, a := range m.NICs {
				for _, b := range m.NICs {
					if d, known := distance[a.Network]; known {
						if old, seen := distance[b.Network]; !seen || d+1 < old {
							distance[b.Network] = d + 1
						}
					}
				}
			}
		}
	}
	var above, below []string
	for _, n := range l.plan.Networks {
		_, reached := distance[n.Name]
		switch {
		case n.Name == main:
		case withNodes[n.Name] || !reached:
			below = append(below, n.Name)
		default:
			above = append(above, n.Name)
		}
	}
	slices.SortStableFunc(above, func(a, b string) int { return cmp.Compare(distance[b], distance[a]) })
	l.order, l.main = slices.Concat(above, []string{main}, below), len(above)
}

// band returns the band, between two bars, of a machine.
func (l *layout) band(m topology.Machine) int {
	low, high := len(l.order), -1
	for _, nic := range m.NICs {
		at := slices.Index(l.order, nic.Network)
		low, high = min(low, at), max(high, at)
	}
	switch {
	case m.Kind == topology.KindNode || low <= l.main && high > l.main:
		return l.main + 1
	case high <= l.main || low != high:
		return max(high, 0)
	}
	return low + 1
}

func (l *layout) place() {
	l.fillBoxes()
	crossings := l.crossings()
	l.gutter = gutter
	for _, wires := range crossings {
		l.gutter = max(l.gutter, float64(len(wires)+1)*wirePitch+6)
	}
	l.width = 2*margin + float64(l.columns)*l.column + float64(l.columns+1)*l.gutter
	l.fillBars()
	y := margin
	for b := 0; b <= len(l.order); b++ {
		for i := range l.rows {
			r := &l.rows[i]
			if r.band != b {
				continue
			}
			if b > 0 || !r.first { // nothing is wired above the first row of all
				y += rowGap
			}
			if !r.first { // elbows of both rows
				y += 12
			}
			r.y = y
			for j := range r.boxes {
				r.h = max(r.h, r.boxes[j].H)
			}
			l.placeRow(r)
			y += r.h
			if r.last && b < len(l.order) {
				y += rowGap
			}
		}
		if b < len(l.order) {
			bar := &l.bars[b]
			bar.Y = y
			for i := range bar.Texts {
				bar.Texts[i].Y += y
			}
			y += bar.H
			if b+1 < len(l.order) && !slices.ContainsFunc(l.rows, func(r row) bool { return r.band == b+1 }) {
				y += rowGap // two bars with nothing between them
			}
		}
	}
	l.height = y + margin
	l.wire(crossings)
}

// x of a column's left edge.
func (l *layout) columnX(c int) float64 {
	return margin + l.gutter + float64(c)*(l.column+l.gutter)
}

func (l *layout) placeRow(r *row) {
	r.firstCol = (l.columns - len(r.boxes)) / 2
	shift := 0.0
	if !r.crossed { // centred exactly
		shift = float64(l.columns-len(r.boxes))/2 - float64(r.firstCol)
	}
	for i := range r.boxes {
		b := &r.boxes[i]
		b.move(l.columnX(r.firstCol+i)+shift*(l.column+l.gutter), r.y)
		taller := r.h - b.H
		b.H = r.h
		for j := range b.Texts {
			if b.Texts[j].Class == "foot" {
				b.Texts[j].Class = ""
				b.Texts[j].Y += taller
			}
		}
	}
}

// crossing is a wire that has to pass rows: of a box's port, in the gutter left of the
// box's column.
type crossing struct {
	row, box, port int
}

// crossings lists the wires of each gutter, by column, and marks the rows that they pass
// or begin in.
func (l *layout) crossings() map[int][]crossing {
	out := map[int][]crossing{}
	for i := range l.rows {
		r := &l.rows[i]
		for j, b := range r.boxes {
			for k, p := range b.Ports {
				bar := slices.Index(l.order, p.Network)
				direct := p.up && bar == r.band-1 && r.first || !p.up && bar == r.band && r.last
				if direct {
					continue
				}
				column := (l.columns-len(r.boxes))/2 + j
				out[column] = append(out[column], crossing{i, j, k})
				for n := range l.rows {
					between := l.rows[n].band > bar && n <= i
					if !p.up {
						between = l.rows[n].band <= bar && n >= i
					}
					l.rows[n].crossed = l.rows[n].crossed || between
				}
			}
		}
	}
	return out
}

// wire lays the wires from ports to bars.
func (l *layout) wire(crossings map[int][]crossing) {
	lanes := map[crossing]float64{}
	for column, wires := range crossings {
		for i, c := range wires {
			lanes[c] = l.columnX(column) - l.gutter/2 + (float64(i)-float64(len(wires)-1)/2)*wirePitch
		}
	}
	for i := range l.rows {
		r := &l.rows[i]
		for j := range r.boxes {
			b := &r.boxes[j]
			for k := range b.Ports {
				p := &b.Ports[k]
				bar := l.bars[slices.Index(l.order, p.Network)]
				x := b.X + lane/2 + float64(k)*lanePitch
				edge, end, away := b.Y+b.H, bar.Y, 1.0
				if p.up {
					edge, end, away = b.Y, bar.Y+bar.H, -1.0
				}
				p.Wire = []Point{{x, edge}}
				if via, long := lanes[crossing{i, j, k}]; long {
					elbow := edge + away*(7+4*float64(k))
					p.Wire = append(p.Wire, Point{x, elbow}, Point{via, elbow}, Point{via, end})
				} else {
					p.Wire = append(p.Wire, Point{x, end})
				}
			}
		}
	}
}

// announces is the network on which Nodes announce VIPs to routers, none if they do not.
func (l *layout) announces() (networks []string) {
	for _, m := range l.plan.Machines {
		if m.Routing == nil {
			continue
		}
		for _, s := range m.Routing.Sessions {
			if s.Node {
				return []string{s.Network}
			}
		}
	}
	return nil
}

// fillBars returns each bar its texts, in as many lines as they need.
func (l *layout) fillBars() {
	for _, name := range l.order {
		at := slices.IndexFunc(l.plan.Networks, func(n topology.Network) bool { return n.Name == name })
		n := l.plan.Networks[at]
		bar := Bar{Rect: Rect{X: margin, W: l.width - 2*margin}, Network: name}
		parts := []Text{{Value: n.CIDR().String()}, {Value: fmt.Sprintf("MTU %d", n.MTU), Class: "dim"}}
		if !n.Impair.None() {
			parts = append(parts, Text{Value: "each link: " + n.Impair.String(), Class: "dim"})
		}
		for _, s := range l.plan.Shared() {
			if s.Network == name {
				parts = append(parts, Text{Value: fmt.Sprintf("VIP %s of %s", s.VIP, strings.Join(s.Hosts, ", ")), Class: "dim"})
			}
		}
		for _, p := range l.plan.LoadBalancer.Pools {
			if p.Network == name {
				parts = append(parts, Text{Value: fmt.Sprintf("VIPs %s–%s", p.First, p.Last), Class: "dim"})
			} else if p.Network == "" && slices.Contains(l.announces(), name) {
				parts = append(parts, Text{Value: fmt.Sprintf("VIPs %s–%s by BGP", p.First, p.Last), Class: "dim"})
			}
		}
		const side, space, top = 14.0, 16.0, 19.0
		head := fit(Text{Value: name, Class: "name"}, bar.W-2*side)
		head.Point = Point{margin + side, top}
		bar.Texts = append(bar.Texts, head)
		x, y := head.X+textWidth(head.Value, "name")+space, top
		for _, t := range parts {
			w := textWidth(t.Value, t.Class)
			if x+w > bar.X+bar.W-side && x > head.X {
				x, y = head.X, y+line
			}
			t = fit(t, bar.W-2*side)
			t.Point = Point{x, y}
			bar.Texts = append(bar.Texts, t)
			x += w + space
		}
		bar.H = y + 11
		l.bars = append(l.bars, bar)
	}
}

func (l *layout) allBoxes() []Box {
	var out []Box
	for _, m := range l.plan.Machines { // in the plan's order
		for _, r := range l.rows {
			for _, b := range r.boxes {
				if b.Machine == m.Name {
					out = append(out, b)
				}
			}
		}
	}
	return out
}
