package drawing

import (
	"slices"

	"netlab.dev/netlab/topology"
)

// fillBoxes fills each box, with positions relative to its upper left, and sets the same width
// for all.
func (l *layout) fillBoxes() {
	l.column = minBox
	for _, m := range l.plan.Machines {
		l.column = max(l.column, l.textsWidth(m))
	}
	l.column = min(l.column, maxBox)
	for i := range l.rows {
		for j := range l.rows[i].boxes {
			m, _ := l.plan.Machine(l.rows[i].boxes[j].Machine)
			l.fill(&l.rows[i].boxes[j], m)
		}
	}
}

// laneWidth is the same in all boxes, so that their texts are aligned.
func (l *layout) laneWidth() float64 {
	most := 1
	for _, m := range l.plan.Machines {
		most = max(most, len(m.NICs))
	}
	return lane + lanePitch*float64(most-1)
}

// textsWidth returns the width that a machine's texts require.
func (l *layout) textsWidth(m topology.Machine) float64 {
	w := textWidth(m.Name, "name") + 2*sizeText + textWidth(m.Role, "")
	for _, nic := range m.NICs {
		w = max(w, textWidth(nicText(nic), ""))
	}
	for _, p := range podsOf(m.Name, l.options) {
		w = max(w, textWidth(p.label(), "")+2*chipPad)
	}
	return l.laneWidth() + w + pad
}

func nicText(nic topology.NIC) string { return nic.Name + " " + nic.Address().Addr().String() }

const chipPad = 7.0

// fill stacks the name, the NICs that are wired upwards, interfaces, Pods, and the NICs
// that are wired downwards.
func (l *layout) fill(b *Box, m topology.Machine) {
	b.W, b.inside = l.column, l.laneWidth()
	room := b.W - b.inside - pad
	band := l.band(m)
	var above, below []topology.NIC
	for _, nic := range m.NICs {
		up := slices.Index(l.order, nic.Network) < band
		title, impair := m.Name+" "+nic.Name+" "+nic.Address().String()+" "+nic.MAC, l.plan.Impairment(nic)
		if !impair.None() {
			title += ", link with " + impair.String()
		}
		b.Ports = append(b.Ports, Port{NIC: nic.Name, Network: nic.Network, up: up, Title: title, Worse: !impair.None()})
		if up {
			above = append(above, nic)
		} else {
			below = append(below, nic)
		}
	}
	y := pad + 11
	b.self = y - 4
	role := Text{Value: m.Role, Class: "dim", Right: true, Point: Point{b.W - pad, y}}
	name := Text{Value: m.Name, Class: "name", Point: Point{b.inside, y}}
	if textWidth(name.Value, "name")+sizeText+textWidth(role.Value, "dim") > room {
		role.Right, role.Point = false, Point{b.inside, y + line - 2}
		y += line - 2
	}
	b.Texts = append(b.Texts, fit(name, room), role)
	for _, nic := range above {
		y += line
		b.Texts = append(b.Texts, fit(Text{Value: nicText(nic), Point: Point{b.inside, y}}, room))
	}
	y += 9
	for _, i := range slices.SortedStableFunc(slices.Values(interfacesOf(m.Name, l.options)), tunnelsFirst) {
		c := Chip{Rect: Rect{b.inside, y, room, 18}, Interface: i.Name}
		c.Texts = []Text{fit(Text{Value: i.Name, Class: "dim", Point: Point{b.inside + chipPad, y + 12.5}}, room-2*chipPad)}
		b.Chips = append(b.Chips, c)
		y += c.H + chipGap
	}
	for _, p := range podsOf(m.Name, l.options) {
		c := podChip(p, b.inside, y, room)
		b.Chips = append(b.Chips, c)
		y += c.H + chipGap
	}
	if len(b.Chips) == 0 {
		y -= 4
	}
	for _, nic := range below {
		y += line - 3
		b.Texts = append(b.Texts, fit(Text{Value: nicText(nic), Class: "foot", Point: Point{b.inside, y}}, room))
		y += 3
	}
	b.H = y + pad - 2
}

// tunnelsFirst sorts tunnels before bridges of Pods, so that they are nearer to the NICs.
func tunnelsFirst(a, b Interface) int {
	switch {
	case a.Tunnel == b.Tunnel:
		return 0
	case a.Tunnel:
		return -1
	}
	return 1
}

func podChip(p Pod, x, y, room float64) Chip {
	c := Chip{Rect: Rect{x, y, room, 20}, Pod: p.Name}
	inner := room - 2*chipPad
	name := fitName(Text{Value: p.label(), Point: Point{x + chipPad, y + 14}}, p.Name, inner)
	ip := fit(Text{Value: p.IP, Class: "dim", Right: true, Point: Point{x + room - chipPad, y + 14}}, inner)
	if p.IP != "" && textWidth(p.label(), "")+sizeText+textWidth(p.IP, "") > inner {
		ip.Right, ip.Point = false, Point{x + chipPad, y + 27}
		c.H = 34
	}
	c.Texts = []Text{name}
	if p.IP != "" {
		c.Texts = append(c.Texts, ip)
	}
	return c
}

// move moves a box that was filled at the origin to its position.
func (b *Box) move(x, y float64) {
	b.X, b.Y = x, y
	b.inside, b.self = b.inside+x, b.self+y
	texts := func(all []Text) {
		for i := range all {
			all[i].X, all[i].Y = all[i].X+x, all[i].Y+y
		}
	}
	texts(b.Texts)
	for i := range b.Chips {
		c := &b.Chips[i]
		c.X, c.Y = c.X+x, c.Y+y
		texts(c.Texts)
	}
}
