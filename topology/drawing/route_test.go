package drawing

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var numbers = regexp.MustCompile(`-?[0-9.]+`)

// ends are the first and the last point of SVG path data.
func ends(t *testing.T, path string) (from, to Point) {
	t.Helper()
	var all []float64
	for _, text := range numbers.FindAllString(path, -1) {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		all = append(all, f)
	}
	n := len(all)
	if n < 2 {
		t.Fatalf("%q has no points", path)
	}
	return Point{all[0], all[1]}, Point{all[n-2], all[n-1]}
}

func stopsOf(d Drawing) []Stop {
	var out []Stop
	for _, b := range d.Boxes {
		out = append(out, Stop{Machine: b.Machine}, Stop{Machine: b.Machine, Interface: "lo"})
		for _, p := range b.Ports {
			out = append(out, Stop{Machine: b.Machine, Interface: p.NIC})
		}
		for _, c := range b.Chips {
			if c.Pod == "" {
				out = append(out, Stop{Machine: b.Machine, Interface: c.Interface})
				continue
			}
			out = append(out, Stop{Machine: b.Machine, Pod: c.Pod, Interface: "eth0"}, Stop{Machine: b.Machine, Peer: c.Pod, Interface: "veth1"})
		}
	}
	return out
}

// TestLegs: every Leg starts and ends at its Stops, and stays in its machine or on the wires of
// a network that both Stops are on.
func TestLegs(t *testing.T) {
	eachDrawing(t, func(t *testing.T, d Drawing) {
		whole := Rect{0, 0, d.Width, d.Height}
		for _, a := range stopsOf(d) {
			at, ok := d.At(a)
			if !ok || !holds(whole, Rect{at.X, at.Y, 0, 0}) {
				t.Fatalf("%+v is at %v, %t", a, at, ok)
			}
			for _, b := range stopsOf(d) {
				leg, ok := d.Leg(a, b)
				if !ok {
					t.Fatalf("no way from %+v to %+v", a, b)
				}
				there, _ := d.At(b)
				from, to := ends(t, leg.Path)
				if fmt.Sprint(number(from.X), number(from.Y), number(to.X), number(to.Y)) != fmt.Sprint(number(at.X), number(at.Y), number(there.X), number(there.Y)) {
					t.Errorf("the way from %+v at %v to %+v at %v is %s", a, at, b, there, leg.Path)
				}
				if strings.Contains(leg.Path, "NaN") {
					t.Errorf("%s", leg.Path)
				}
				if want := a.Machine == b.Machine || network(d, a) != "" && network(d, a) == network(d, b); leg.Wired != want {
					t.Errorf("from %+v to %+v: wired %t, want %t", a, b, leg.Wired, want)
				}
				if box, _ := d.box(a.Machine); a.Machine == b.Machine {
					inside(t, box.Rect, leg.Path)
				}
			}
		}
	})
}

func inside(t *testing.T, box Rect, path string) {
	t.Helper()
	all := numbers.FindAllString(path, -1)
	for i := 0; i+1 < len(all); i += 2 {
		x, _ := strconv.ParseFloat(all[i], 64)
		y, _ := strconv.ParseFloat(all[i+1], 64)
		if x < box.X-0.1 || x > box.X+box.W+0.1 || y < box.Y-0.1 || y > box.Y+box.H+0.1 {
			t.Errorf("%s leaves %v", path, box)
			return
		}
	}
}

func network(d Drawing, s Stop) string {
	b, _ := d.box(s.Machine)
	if p := s.port(b); p != nil {
		return p.Network
	}
	return ""
}

// TestStrangers: a Stop that the drawing does not have has no position and no Leg.
func TestStrangers(t *testing.T) {
	plan := planOf(t, "quickstart")
	d := New(plan, peopled(plan))
	here := Stop{Machine: "w1", Interface: "eth0"}
	for _, s := range []Stop{{Machine: "nobody"}, {Machine: "w1", Pod: "nobody"}, {Machine: "w1", Peer: "nobody"}} {
		if at, ok := d.At(s); ok {
			t.Errorf("%+v is at %v", s, at)
		}
		if leg, ok := d.Leg(here, s); ok {
			t.Errorf("%+v is reached by %s", s, leg.Path)
		}
		if leg, ok := d.Straight(s, here); ok {
			t.Errorf("%+v reaches by %s", s, leg.Path)
		}
	}
}
