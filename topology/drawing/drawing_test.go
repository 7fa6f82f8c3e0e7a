package drawing

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func planOf(t *testing.T, scenario string) topology.Plan {
	t.Helper()
	file := filepath.Join("..", "..", "scenarios", scenario+".yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return built(t, file, string(data))
}

func built(t *testing.T, file, text string) topology.Plan {
	t.Helper()
	lab, err := labs.Load(file, []byte(text), labstest.Known())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := topology.Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// crowded is a lab of twelve machines on four networks, with long names and hosts of
// every kind, some on networks far from each other.
const crowded = `apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: crowded}
networks:
  - {name: lan, cidr: 172.30.0.0/24}
  - {name: storage, cidr: 172.31.0.0/24, mtu: 9000}
  - {name: wan, cidr: 203.0.113.0/24}
  - {name: office, cidr: 198.51.100.0/24}
nodes:
  - {name: cp, role: control-plane, networks: [lan]}
  - {name: worker-of-the-storage-rack, role: worker, networks: [lan, storage]}
  - {name: w, role: worker, count: 5, networks: [lan, storage, wan]}
hosts:
  - {name: router, role: router, networks: [lan, wan, office]}
  - {name: desk, role: client, networks: [office]}
  - {name: client, role: client, networks: [lan, office]}
  - {name: nas, role: client, networks: [storage]}
  - {name: internet, role: internet, networks: [wan]}
loadBalancer: {name: metallb, mode: l2, pools: [172.30.0.200-172.30.0.219]}
`

func plans(t *testing.T) map[string]topology.Plan {
	out := map[string]topology.Plan{"crowded": built(t, "crowded.yaml", crowded)}
	for _, s := range []string{"quickstart", "single-node", "isolated", "routed-client", "small-network", "minimal", "spine-leaf", "metallb-bgp"} {
		out[s] = planOf(t, s)
	}
	return out
}

// peopled has Pods and interfaces in every Node.
func peopled(plan topology.Plan) Options {
	var o Options
	for i, n := range plan.Nodes() {
		o.Pods = append(o.Pods, Pod{Name: "echo-" + n.Name, Node: n.Name, IP: fmt.Sprintf("10.244.%d.3", i)},
			Pod{Name: "policy-allow-namespace", Node: n.Name, IP: fmt.Sprintf("10.244.%d.14", i)},
			Pod{Name: "ingress-nginx-controller-7d9f6bdc5-x2x4q", Node: n.Name, IP: fmt.Sprintf("10.244.%d.114", i)})
		o.Interfaces = append(o.Interfaces, Interface{Machine: n.Name, Name: "cni0"}, Interface{Machine: n.Name, Name: "flannel.1", Tunnel: true})
	}
	return o
}

// eachDrawing visits drawings of labs from one machine to twelve, wide and narrow, empty
// and with Pods.
func eachDrawing(t *testing.T, visit func(t *testing.T, d Drawing)) {
	for name, plan := range plans(t) {
		for _, columns := range []int{1, 2, 3, 6} {
			for _, o := range []Options{{}, peopled(plan)} {
				o.Columns = columns
				t.Run(fmt.Sprintf("%s-%d-%d", name, columns, len(o.Pods)), func(t *testing.T) { visit(t, New(plan, o)) })
			}
		}
	}
}

// VIPs that Nodes announce to routers are shown at the network where they do.
func TestVIPsByBGP(t *testing.T) {
	var found []string
	for _, b := range New(planOf(t, "metallb-bgp"), Options{}).Bars {
		for _, text := range b.Texts {
			if strings.Contains(text.Value, "VIPs") {
				found = append(found, b.Network+": "+text.Value)
			}
		}
	}
	if strings.Join(found, "; ") != "lan: VIPs 198.51.100.1–198.51.100.20 by BGP" {
		t.Errorf("VIPs are %q", found)
	}
}

func TestGolden(t *testing.T) {
	quick, big := planOf(t, "quickstart"), built(t, "crowded.yaml", crowded)
	for name, write := range map[string]func(io.Writer) error{
		"quickstart.svg":     New(quick, Options{}).SVG,
		"quickstart.mmd":     New(quick, Options{}).Mermaid,
		"quickstart.dot":     New(quick, Options{}).DOT,
		"quickstart-pod.svg": New(quick, peopled(quick)).Inline,
		"crowded.svg":        New(big, Options{Columns: 4}).SVG,
		"crowded.mmd":        New(big, Options{}).Mermaid,
		"crowded.dot":        New(big, Options{}).DOT,
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := write(&out); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("%s differs (run with -update to accept)", path)
			}
		})
	}
}

// TestNothingOverlaps: boxes, bars and texts do not overlap, lie inside their parents, and no
// wire passes through a box.
func TestNothingOverlaps(t *testing.T) {
	eachDrawing(t, func(t *testing.T, d Drawing) {
		whole := Rect{0, 0, d.Width, d.Height}
		var places []Rect
		for _, b := range d.Bars {
			places = append(places, b.Rect)
			holdsTexts(t, "network "+b.Network, b.Rect, b.Texts)
		}
		for _, b := range d.Boxes {
			places = append(places, b.Rect)
			texts := b.Texts
			for i, c := range b.Chips {
				if !holds(b.Rect, c.Rect) {
					t.Errorf("%s: %s%s sticks out", b.Machine, c.Pod, c.Interface)
				}
				holdsTexts(t, b.Machine+" "+c.Pod+c.Interface, c.Rect, c.Texts)
				for _, other := range b.Chips[:i] {
					if overlap(c.Rect, other.Rect) {
						t.Errorf("%s: %v and %v overlap", b.Machine, c, other)
					}
				}
				for _, text := range b.Texts {
					if overlap(c.Rect, extent(text)) {
						t.Errorf("%s: %q lies on %s%s", b.Machine, text.Value, c.Pod, c.Interface)
					}
				}
			}
			holdsTexts(t, b.Machine, b.Rect, texts)
		}
		for i, a := range places {
			if !holds(whole, a) {
				t.Errorf("%v is not in the drawing", a)
			}
			for _, b := range places[:i] {
				if overlap(a, b) {
					t.Errorf("%v and %v overlap", a, b)
				}
			}
		}
		wiresAreClear(t, d)
	})
}

// wiresAreClear: every wire runs straight up, down or sideways from its box to its bar,
// through no box, and on top of no other wire.
func wiresAreClear(t *testing.T, d Drawing) {
	type leg struct {
		who  string
		area Rect
	}
	var legs []leg
	for _, b := range d.Boxes {
		for _, p := range b.Ports {
			bar, ok := d.bar(p.Network)
			end := p.Wire[len(p.Wire)-1]
			if !ok || end.X < bar.X || end.X > bar.X+bar.W || end.Y != bar.Y && end.Y != bar.Y+bar.H {
				t.Errorf("%s %s does not end at %s", b.Machine, p.NIC, p.Network)
			}
			for i := 1; i < len(p.Wire); i++ {
				a, z := p.Wire[i-1], p.Wire[i]
				if a.X != z.X && a.Y != z.Y {
					t.Errorf("%s %s runs aslant", b.Machine, p.NIC)
				}
				area := Rect{min(a.X, z.X) - 1, min(a.Y, z.Y) - 1, max(a.X, z.X) - min(a.X, z.X) + 2, max(a.Y, z.Y) - min(a.Y, z.Y) + 2}
				for _, other := range d.Boxes {
					inner := Rect{other.X + 2, other.Y + 2, other.W - 4, other.H - 4}
					if overlap(area, inner) {
						t.Errorf("the wire of %s %s runs through %s", b.Machine, p.NIC, other.Machine)
					}
				}
				for _, l := range legs {
					vertical := func(r Rect) bool { return r.W <= 2 }
					if l.who != b.Machine+p.NIC && vertical(l.area) == vertical(area) && overlap(l.area, area) {
						t.Errorf("the wires of %s %s and %s lie on each other", b.Machine, p.NIC, l.who)
					}
				}
				legs = append(legs, leg{b.Machine + p.NIC, area})
			}
		}
	}
}

func holdsTexts(t *testing.T, who string, r Rect, texts []Text) {
	t.Helper()
	for i, text := range texts {
		if !holds(r, extent(text)) {
			t.Errorf("%s: %q sticks out", who, text.Value)
		}
		for _, other := range texts[:i] {
			if overlap(extent(text), extent(other)) {
				t.Errorf("%s: %q and %q overlap", who, text.Value, other.Value)
			}
		}
	}
}

// extent returns the size of a text.
func extent(t Text) Rect {
	w, size := textWidth(t.Value, t.Class), sizeText
	if t.Class == "name" {
		size = sizeName
	}
	x := t.X
	if t.Right {
		x -= w
	}
	return Rect{x, t.Y - 0.8*size, w, size}
}

func holds(outer, inner Rect) bool {
	return inner.X >= outer.X && inner.Y >= outer.Y && inner.X+inner.W <= outer.X+outer.W && inner.Y+inner.H <= outer.Y+outer.H
}

func overlap(a, b Rect) bool {
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

// TestSVGIsWellFormed: other tools parse it, and every machine, address and network is in it.
func TestSVGIsWellFormed(t *testing.T) {
	eachDrawing(t, func(t *testing.T, d Drawing) {
		var out bytes.Buffer
		if err := d.SVG(&out); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		for dec := xml.NewDecoder(&out); ; {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range d.plan.Machines {
			for _, nic := range m.NICs {
				if !strings.Contains(text, nic.Name+" "+nic.Address().Addr().String()) {
					t.Errorf("%s %s is not drawn", m.Name, nic.Name)
				}
			}
		}
		for _, n := range d.plan.Networks {
			if !strings.Contains(text, ">"+n.Name+"<") {
				t.Errorf("network %s is not drawn", n.Name)
			}
		}
		if strings.Contains(text, "NaN") || strings.Contains(text, "://") && !strings.Contains(text, "http://www.w3.org/2000/svg") {
			t.Error("a place is not a number, or the drawing has an external reference")
		}
	})
}
