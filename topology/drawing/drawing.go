// Package drawing draws a topology.Plan: as SVG, for which it computes the layout, and as
// Mermaid and Graphviz source. It is pure: equal plans have equal drawings. A Drawing also
// returns the path between two points of a packet's route (Leg); the caller knows the route.
//
// Networks are bars across the drawing, machines stand between them: the outside above,
// then the network that all Nodes share, the Nodes, and their other networks below. A
// machine's NICs are ports on its edge, with a wire to the bar. Wires that must pass a row
// of machines do so in the gutters between columns.
package drawing

import (
	"slices"
	"strings"
	"unicode/utf8"

	"netlab.dev/netlab/topology"
)

// Options is what a drawing shows in addition to the Plan.
type Options struct {
	Columns    int         // maximum number of machines side by side; default: 6
	Pods       []Pod       // inside their Nodes
	Interfaces []Interface // inside their machines: bridges and tunnels, which are not in the Plan
}

// Pod is a Pod in the drawing.
type Pod struct {
	Name  string
	Label string // shortened name; default: the whole name
	Node  string
	IP    string
}

func (p Pod) label() string {
	if p.Label != "" {
		return p.Label
	}
	return p.Name
}

// Interface is a network interface that a CNI created in a machine.
type Interface struct {
	Machine string
	Name    string
	Tunnel  bool // wraps packets between Nodes: drawn nearest to the NICs
}

// Drawing is a Plan with its layout, in pixels from the upper left.
type Drawing struct {
	Title         string
	Width, Height float64
	Bars          []Bar
	Boxes         []Box

	plan topology.Plan
}

// Rect is the position and size of a shape.
type Rect struct{ X, Y, W, H float64 }

// Point is a position.
type Point struct{ X, Y float64 }

// Text is one line; Y is its baseline, Right its alignment.
type Text struct {
	Point
	Class string // "name", "dim" or "": which font and colour
	Value string
	Right bool   // X is where it ends
	Whole string // the untruncated text, if Value is cut
}

// Bar is a network.
type Bar struct {
	Rect
	Network string
	Texts   []Text
}

// Box is a machine with its contents.
type Box struct {
	Rect
	Machine string
	Kind    string // topology.KindNode or KindHost
	Texts   []Text
	Ports   []Port
	Chips   []Chip
	inside  float64 // X where the lane of the ports ends
	self    float64 // Y of the machine's own processes
}

// Port is a NIC on the edge of its box, with its wire to the network's bar: corners from
// the port to the bar's edge.
type Port struct {
	NIC     string
	Network string
	Title   string
	Wire    []Point
	Worse   bool // the link is impaired
	up      bool
}

// Chip is a Pod or an interface in a machine.
type Chip struct {
	Rect
	Pod       string // one of the two
	Interface string
	Texts     []Text
}

// New draws a plan.
func New(plan topology.Plan, o Options) Drawing {
	if o.Columns <= 0 {
		o.Columns = 6
	}
	l := newLayout(plan, o)
	l.place()
	return Drawing{Title: title(plan), Width: l.width, Height: l.height, Bars: l.bars, Boxes: l.allBoxes(), plan: plan}
}

func title(plan topology.Plan) string {
	t := "lab " + plan.Lab.String() + ": Kubernetes " + plan.Kubernetes.Version
	if plan.CNI.Name != "" {
		t += ", " + plan.CNI.Name
	}
	return t
}

// The sizes of texts, in pixels. Every text is monospace: no common monospace
// font is wider than 0.61 of its size, so that a text that fits here fits with every font.
const (
	sizeName = 13.0
	sizeText = 10.5
	em       = 0.61
)

func textWidth(s, class string) float64 {
	size := sizeText
	if class == "name" {
		size = sizeName
	}
	return float64(utf8.RuneCountInString(s)) * size * em
}

// fit cuts a text so that it is no wider than w.
func fit(t Text, w float64) Text {
	if textWidth(t.Value, t.Class) <= w {
		return t
	}
	t.Whole = t.Value
	runes := []rune(t.Value)
	for len(runes) > 1 && textWidth(string(runes)+"…", t.Class) > w {
		runes = runes[:len(runes)-1]
	}
	t.Value = strings.TrimRight(string(runes), "-. ") + "…"
	return t
}

// fitName cuts a Pod's name in its middle: its end distinguishes it from other Pods of its owner.
func fitName(t Text, whole string, w float64) Text {
	const tail = 6
	if runes := []rune(t.Value); textWidth(t.Value, t.Class) > w && len(runes) > 2*tail {
		end := string(runes[len(runes)-tail:])
		cut := fit(Text{Value: string(runes[:len(runes)-tail]), Class: t.Class}, w-textWidth(end, t.Class))
		if cut.Whole == "" {
			cut.Value += "…"
		}
		t.Value, t.Whole = cut.Value+end, whole
	} else if t = fit(t, w); t.Whole != "" || t.Value != whole {
		t.Whole = whole
	}
	return t
}

// box finds a machine's box.
func (d Drawing) box(machine string) (Box, bool) {
	i := slices.IndexFunc(d.Boxes, func(b Box) bool { return b.Machine == machine })
	if i < 0 {
		return Box{}, false
	}
	return d.Boxes[i], true
}

func (d Drawing) bar(network string) (Bar, bool) {
	i := slices.IndexFunc(d.Bars, func(b Bar) bool { return b.Network == network })
	if i < 0 {
		return Bar{}, false
	}
	return d.Bars[i], true
}

func (b Box) port(nic string) (Port, bool) {
	i := slices.IndexFunc(b.Ports, func(p Port) bool { return p.NIC == nic })
	if i < 0 {
		return Port{}, false
	}
	return b.Ports[i], true
}

// pods and interfaces of a machine.
func podsOf(machine string, o Options) []Pod {
	var out []Pod
	for _, p := range o.Pods {
		if p.Node == machine {
			out = append(out, p)
		}
	}
	return out
}

func interfacesOf(machine string, o Options) []Interface {
	var out []Interface
	for _, i := range o.Interfaces {
		if i.Machine == machine {
			out = append(out, i)
		}
	}
	return out
}
