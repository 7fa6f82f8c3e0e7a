package drawing

import (
	_ "embed"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// Style is the CSS of a drawing, light and dark, for class topology. SVG includes it; a
// page with drawings includes it once.
//
//go:embed style.css
var Style string

// SVG writes the drawing as a separate file.
func (d Drawing) SVG(w io.Writer) error {
	return d.write(w, `xmlns="http://www.w3.org/2000/svg" `, "<style>"+Style+"</style>")
}

// Inline writes the drawing as an element of an HTML page, which has Style. Its data-*
// attributes name what each shape stands for; a page may draw into the empty groups .over
// (under the texts) and .top.
func (d Drawing) Inline(w io.Writer) error { return d.write(w, "", "") }

func (d Drawing) write(w io.Writer, namespace, style string) error {
	s := &svg{}
	s.printf(`<svg %sclass="topology" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="%s">`,
		namespace, number(d.Width), number(d.Height), number(d.Width), number(d.Height), escape(d.Title+". "+d.Description()))
	s.printf("%s\n", style)
	if namespace != "" { // a page has its own background
		s.printf(`<rect class="ground" width="%s" height="%s"/>`+"\n", number(d.Width), number(d.Height))
	}
	for _, b := range d.Boxes {
		for _, p := range b.Ports {
			dash := ""
			if p.Worse {
				dash = ` stroke-dasharray="5 3"`
			}
			s.printf(`<path class="wire"%s data-machine="%s" data-nic="%s" data-network="%s" d="%s"/>`+"\n", dash, escape(b.Machine), escape(p.NIC), escape(p.Network), polyline(p.Wire))
		}
	}
	for _, b := range d.Bars {
		s.printf(`<rect class="bar" data-network="%s" x="%s" y="%s" width="%s" height="%s" rx="9"/>`+"\n", escape(b.Network), number(b.X), number(b.Y), number(b.W), number(b.H))
	}
	for _, b := range d.Boxes {
		s.printf(`<rect class="box %s" data-machine="%s" x="%s" y="%s" width="%s" height="%s" rx="8"/>`+"\n",
			b.Kind, escape(b.Machine), number(b.X), number(b.Y), number(b.W), number(b.H))
		for _, c := range b.Chips {
			class, name := "pod", c.Pod
			if c.Pod == "" {
				class, name = "interface", c.Interface
			}
			s.printf(`<rect class="chip %s" data-machine="%s" data-%s="%s" x="%s" y="%s" width="%s" height="%s" rx="5"/>`+"\n",
				class, escape(b.Machine), class, escape(name), number(c.X), number(c.Y), number(c.W), number(c.H))
		}
	}
	// A page draws over the wires here, below the texts.
	s.printf(`<g class="over"></g>` + "\n")
	for _, b := range d.Boxes {
		for _, p := range b.Ports {
			end := p.Wire[len(p.Wire)-1]
			s.printf(`<circle class="port" data-machine="%s" data-nic="%s" cx="%s" cy="%s" r="4"><title>%s</title></circle><circle class="plug" cx="%s" cy="%s" r="3"/>`+"\n",
				escape(b.Machine), escape(p.NIC), number(p.Wire[0].X), number(p.Wire[0].Y), escape(p.Title), number(end.X), number(end.Y))
		}
		for _, c := range b.Chips {
			s.texts(c.Texts)
		}
		s.texts(b.Texts)
	}
	for _, b := range d.Bars {
		s.texts(b.Texts)
	}
	s.printf(`<g class="top"></g>` + "\n</svg>\n")
	_, err := io.WriteString(w, s.String())
	return err
}

type svg struct{ strings.Builder }

func (s *svg) printf(format string, args ...any) { fmt.Fprintf(s, format, args...) }

func (s *svg) texts(all []Text) {
	for _, t := range all {
		attributes := ""
		if t.Class != "" {
			attributes += ` class="` + t.Class + `"`
		}
		if t.Right {
			attributes += ` text-anchor="end"`
		}
		whole := ""
		if t.Whole != "" {
			whole = "<title>" + escape(t.Whole) + "</title>"
		}
		s.printf(`<text x="%s" y="%s"%s>%s%s</text>`+"\n", number(t.X), number(t.Y), attributes, escape(t.Value), whole)
	}
}

// polyline is an SVG path through points, its corners rounded.
func polyline(points []Point) string {
	const radius = 6.0
	var b strings.Builder
	for i, p := range points {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "M%s %s", number(p.X), number(p.Y))
		case i == len(points)-1:
			fmt.Fprintf(&b, "L%s %s", number(p.X), number(p.Y))
		default:
			before, after := towards(p, points[i-1], radius), towards(p, points[i+1], radius)
			fmt.Fprintf(&b, "L%s %sQ%s %s %s %s", number(before.X), number(before.Y), number(p.X), number(p.Y), number(after.X), number(after.Y))
		}
	}
	return b.String()
}

// towards returns the point on the line from a to b at distance r, or half-way if that is nearer.
func towards(a, b Point, r float64) Point {
	length := math.Hypot(b.X-a.X, b.Y-a.Y)
	if length == 0 {
		return a
	}
	f := min(r, length/2) / length
	return Point{a.X + (b.X-a.X)*f, a.Y + (b.Y-a.Y)*f}
}

// number has one decimal at most.
func number(f float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0")
}

func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return ""
	}
	return b.String()
}
