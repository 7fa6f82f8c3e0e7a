package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// subject is a page's subject from a golden report of package verify: "sampled" has
// everything that a report can hold, "faulty" has no evidence.
func subject(t *testing.T, name string) Subject {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "run", "testdata", "report-"+name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	s := lab(t, "quickstart")
	if err := json.Unmarshal(data, &s.Report); err != nil {
		t.Fatal(err)
	}
	return s
}

// lab is a subject without a report.
func lab(t *testing.T, scenario string) Subject {
	t.Helper()
	s := Subject{Layout: checks.Layout(), Made: time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC), File: "scenarios/" + scenario + ".yaml",
		Parts: []Part{{"netlab", "v0.1.0"}, {"kernel", "6.18.0"}, {"flannel", "v0.28.4"}}}
	text, err := os.ReadFile(filepath.Join("..", "..", "..", s.File))
	if err != nil {
		t.Fatal(err)
	}
	s.Text = string(text)
	known := labstest.Known()
	known.Providers, known.Sections = append(known.Providers, "libvirt"), map[string]labs.Section{"libvirt": settings.Section()}
	lab, err := labs.Load(s.File, text, known)
	if err != nil {
		t.Fatal(err)
	}
	if s.Plan, err = topology.Build(lab); err != nil {
		t.Fatal(err)
	}
	return s
}

func written(t *testing.T, s Subject) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, s); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestEverythingIsThere: the page has each path with its reason, command and hops, failed ones
// first; each figure with its interval; the lab file and the versions.
func TestEverythingIsThere(t *testing.T) {
	s := subject(t, "sampled")
	out := written(t, s)
	plain := strings.NewReplacer("&#39;", "'", "&#34;", `"`, "&gt;", ">", "&lt;", "<", "&#43;", "+", "&amp;", "&").Replace(out)
	has := func(text string) {
		t.Helper()
		if !strings.Contains(plain, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
	place := func(i int) int { return strings.Index(out, fmt.Sprintf(`id="%s"`, pathID(i))) }
	lastBad, firstGood := -1, len(out)
	for i, p := range s.Report.Paths {
		if place(i) < 0 {
			t.Errorf("path %d, %s, is not there", i+1, p.ID)
		}
		if bad(p) {
			lastBad = max(lastBad, place(i))
			has(p.Reason)
			has(p.Command)
		} else {
			firstGood = min(firstGood, place(i))
		}
		if p.Evidence != nil {
			for _, h := range p.Evidence.Hops {
				has(h.Source + " → " + h.Destination)
				for _, c := range h.Changes {
					has(c.What)
				}
			}
			has(p.Evidence.Lost)
		}
		if p.Throughput != nil {
			has(report.FigureText(*p.Throughput))
		}
		if p.Latency != nil {
			has(inMicros(p.Latency.P50))
		}
	}
	if lastBad < 0 || lastBad > firstGood {
		t.Errorf("failed paths are not first: %d after %d", lastBad, firstGood)
	}
	has(strings.TrimSpace(s.Text))
	asked := len(s.Report.Paths) - s.Report.Summary.Skip
	has(fmt.Sprintf("%d of %d paths as expected", s.Report.Summary.Pass, asked))
	for _, p := range s.Parts {
		has(p.Version)
	}
	s.Doubt = "The lab file was changed."
	if !strings.Contains(written(t, s), s.Doubt) {
		t.Error("the doubt is missing")
	}
}

// TestPolicyMatrix: how the page shows a policy's steps, including a passing policy-l7.
func TestPolicyMatrix(t *testing.T) {
	v, err := newView(subject(t, "policies"))
	if err != nil {
		t.Fatal(err)
	}
	last := v.Matrices[len(v.Matrices)-1]
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", last.Title, strings.Join(last.Columns, " "))
	for _, r := range last.Rows {
		fmt.Fprintf(&b, "%s:", r.Name)
		for _, c := range r.Cells {
			fmt.Fprintf(&b, " %s", c.Mark())
		}
		b.WriteString("\n")
	}
	const want = `Policies: before denied allowed after expected
policy-default-deny: ✓ ✓ ✗ ✓ enforced
policy-allow-label: ! ! ! ! enforced
policy-allow-namespace: ✓ ✓ ✓ ✓ enforced
policy-allow-port: ✓ ✗ ✓ ✓ enforced
policy-egress-deny: ✓ ✓ ✓ ✓ enforced
policy-named-port: ✓ ✓ ✓ ✓ enforced
policy-port-range: ✓ ✓ ✓ ✓ enforced
policy-ipblock: ✓ ✓ ✓ ✓ enforced
policy-fqdn: ✓ ✓ ✓ ✓ enforced
policy-l7: ✓ ✓ ✓ ✓ enforced
`
	if b.String() != want {
		t.Errorf("the page shows\n%swant\n%s", b.String(), want)
	}
}

// TestNothingElseIsNeeded: the page refers to no other file or host, and its policy forbids it.
func TestNothingElseIsNeeded(t *testing.T) {
	out := written(t, subject(t, "sampled"))
	for _, m := range regexp.MustCompile(`(?i)\b(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]*)`).FindAllStringSubmatch(out, -1) {
		if !strings.HasPrefix(m[1], "#") && m[1] != "data:," {
			t.Errorf("the page refers to %s", m[0])
		}
	}
	if m := regexp.MustCompile(`(?i)url\(|@import|<link[^>]*stylesheet|<script[^>]*src|<iframe|<object|fetch\(|XMLHttpRequest|WebSocket`).FindString(out); m != "" {
		t.Errorf("the page has %s", m)
	}
	if !strings.Contains(out, `default-src 'none'`) {
		t.Error("the page's policy does not forbid the network")
	}
	if n := strings.Count(out, "<script"); n != 2 {
		t.Errorf("%d scripts", n)
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\bid="([^"]*)"`).FindAllStringSubmatch(out, -1) {
		if ids[m[1]] {
			t.Errorf("two elements are #%s", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?:aria-labelledby|aria-controls)="([^"]*)"|href="#([^"]+)"`).FindAllStringSubmatch(out, -1) {
		if !ids[m[1]+m[2]] {
			t.Errorf("%s leads nowhere", m[0])
		}
	}
}

// TestStrangeTexts: texts from a lab file or a cluster are never interpreted as HTML.
func TestStrangeTexts(t *testing.T) {
	s := subject(t, "sampled")
	const strange = `</script><script>alert("x")</script>'"><img src=x onerror=alert(1)>`
	for i := range s.Report.Paths {
		p := &s.Report.Paths[i]
		p.From.Name, p.To.Name, p.Reason, p.Command = strange, strange, strange, strange
		if p.Evidence != nil {
			p.Evidence.Lost = strange
			for k := range p.Evidence.Hops {
				h := &p.Evidence.Hops[k]
				h.Pod, h.Interface, h.Source, h.Leg = strange, strange, strange, strange
			}
		}
	}
	s.Text, s.File, s.Doubt, s.Parts = strange, strange, strange, []Part{{strange, strange}}
	out := written(t, s)
	for _, text := range []string{"<script>alert", "<img", "</script><script>"} {
		if strings.Contains(out, text) {
			t.Errorf("%s is in the page", text)
		}
	}
}

// TestEveryLab: any lab has a page, even before anything was verified.
func TestEveryLab(t *testing.T) {
	files, err := filepath.Glob("../../../scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if labs.IsMatrix(text) || regexp.MustCompile(`(calico|cilium)`).MatchString(name) || strings.Contains(string(text), "cni: {name: calico}") {
			continue // not known to labstest
		}
		s := lab(t, name)
		if out := written(t, s); !strings.Contains(out, "No path was verified") || strings.Contains(out, `id="throughput"`) {
			t.Errorf("%s: the page lists paths", name)
		}
	}
}

// TestWays: hops are joined where packets were seen on every interface between them, and no
// line is invented between others.
func TestWays(t *testing.T) {
	s := subject(t, "sampled")
	seen := sceneOf(s.Report, s.Plan)
	f := pathfinder{plan: s.Plan, scene: seen, drawings: drawings(s.Plan, seen)}
	hidden := map[string][]int{ // hops that are not joined to the one before, from 1
		"pod-to-pod-cross-node echo-cp → echo-w1":            {12, 16},
		"throughput-pod-cross-node echo-cp → echo-w1":        {12, 16},
		"latency-pod-cross-node echo-cp → echo-w1":           {12, 16},
		"pod-to-pod-cross-node echo-w1 → echo-w2":            {2},
		"pod-to-clusterip echo-cp → echo":                    {2, 4},
		"outside-to-ingress-http client → a.netlab.test/one": {4, 6, 8},
		"pod-to-outside echo-cp → internet":                  {2},
	}
	for _, p := range s.Report.Paths {
		p, by := lent(s.Report, p)
		w := f.of(p)
		if measured(p) != (len(w.Label) > 0) || by != "" != (p.ID == "throughput-pod-cross-node" || p.ID == "latency-pod-cross-node") {
			t.Errorf("%s %s → %s: label %q, hops of %q", p.ID, p.From.Name, p.To.Name, w.Label, by)
		}
		if p.Evidence == nil {
			if w.Hops || len(w.Ends) == 0 && p.Outcome != report.Skip {
				t.Errorf("%s %s → %s: %+v", p.ID, p.From.Name, p.To.Name, w)
			}
			continue
		}
		name := p.ID + " " + p.From.Name + " → " + p.To.Name
		var got []int
		for i, x := range w.Steps {
			if x.Hidden {
				got = append(got, i+1)
			}
			for k, d := range f.drawings {
				if len(x.At[k]) != 2 || x.At[k][0] < 0 || float64(x.At[k][0]) > d.Width || x.At[k][1] < 0 || float64(x.At[k][1]) > d.Height {
					t.Errorf("%s: hop %d is at %v", name, i+1, x.At[k])
				}
				if x.from != nil && stopOf(*x.from) != stopOf(p.Evidence.Hops[i]) && x.Line[k] == "" {
					t.Errorf("%s: no line leads to hop %d", name, i+1)
				}
			}
		}
		if !slices.Equal(got, hidden[name]) {
			t.Errorf("%s: not joined are %v, want %v", name, got, hidden[name])
		}
		if w.Lost != (p.Evidence.Lost != "") {
			t.Errorf("%s: lost is %t", name, w.Lost)
		}
	}
}

// TestLabels: the median and its interval, as written over the drawing.
func TestLabels(t *testing.T) {
	rate := report.Figure{Unit: "bit/s", Median: 6.1e9, Low: 5.9e9, High: 6.4e9, Confidence: 0.97, Samples: make([]float64, 6)}
	once := report.Figure{Unit: "bit/s", Median: 9.4e8, Low: 9.4e8, High: 9.4e8, Samples: make([]float64, 1)}
	delay := report.Latency{P50: report.Figure{Median: 1530, Low: 1490, High: 1610, Confidence: 0.75, Samples: make([]float64, 3)}}
	for _, c := range []struct {
		p           report.Result
		label, says string
	}{
		{report.Result{Protocol: "tcp", Throughput: &rate}, "6.1 Gbit/s|(5.9–6.4)", "95 % confidence interval of 6 measurements"},
		{report.Result{Protocol: "tcp", Throughput: &once}, "940 Mbit/s", "measured once"},
		{report.Result{Protocol: "tcp", Latency: &delay}, "p50 1.53 ms|(1.49–1.61)", "range of 3 measurements"},
		{report.Result{Protocol: "http"}, "", ""},
	} {
		if got := strings.Join(label(c.p), "|"); got != c.label {
			t.Errorf("label %q, want %q", got, c.label)
		}
		if got := strings.Join(figures(c.p), "; "); !strings.HasSuffix(got, c.says) {
			t.Errorf("figures %q, want %q", got, c.says)
		}
	}
}

// TestBroadcast: an ARP request that two Nodes received came to both from its sender.
func TestBroadcast(t *testing.T) {
	s := lab(t, "quickstart")
	hop := func(machine, direction string) report.Hop {
		return report.Hop{Machine: machine, Interface: "eth0", Direction: direction, Leg: "request", Packet: "ARP who has", Source: "172.30.0.100", Destination: "172.30.0.200"}
	}
	hops := []report.Hop{hop("client", "out"), hop("w1", "in"), hop("w2", "in")}
	f := pathfinder{plan: s.Plan, drawings: drawings(s.Plan, scene{})}
	for i, x := range f.hops(hops)[1:] {
		if x.from == nil || x.from.Machine != "client" || x.Hidden {
			t.Errorf("hop %d comes from %+v", i+2, x.from)
		}
	}
}

// TestScales: ticks and figures are on the scale, in order.
func TestScales(t *testing.T) {
	for _, most := range []float64{0, 1, 940e6, 9.99e9, 10e9, 34.6e9, 1.2e12} {
		end, ticks := linear(most)
		if end < most || most > 0 && (end > 2.6*most || len(ticks) < 3 || len(ticks) > 7) {
			t.Errorf("a scale for %g ends at %g with %d ticks", most, end, len(ticks))
		}
	}
	for _, x := range [][2]float64{{31, 5600}, {0.8, 3}, {100, 100}, {10, 1e7}} {
		at, ticks := logarithmic(x[0], x[1])
		if at(x[0]) < 0 || at(x[1]) > 100 || at(x[0]) > at(x[1]) || len(ticks) < 2 {
			t.Errorf("%v lies at %g to %g, %d ticks", x, at(x[0]), at(x[1]), len(ticks))
		}
	}
	l, tp := latencyOf(subject(t, "sampled").Report), throughputOf(subject(t, "sampled").Report)
	for _, r := range tp.Rows {
		if r.Figure != "" && !(r.Span.Low <= r.Span.Median && r.Span.Median <= r.Span.High && r.Span.High <= 100) {
			t.Errorf("%s %s lies at %+v", r.Route, r.How, r.Span)
		}
	}
	for _, r := range l.Rows {
		if !(r.Span.Low <= r.Span.Median && r.Span.Median <= r.P90At && r.P90At <= r.P99At && r.P99At <= r.MaxAt && r.MaxAt <= 100) {
			t.Errorf("%s %s lies at %+v", r.Route, r.How, r)
		}
	}
	if len(tp.Rows) != 22 || len(l.Rows) != 10 || !tp.Few {
		t.Errorf("%d and %d rows", len(tp.Rows), len(l.Rows))
	}
	if got := micros(1415) + " " + micros(74) + " " + micros(2.5e6); got != "1.42 ms 74 µs 2.5 s" && got != "1.41 ms 74 µs 2.5 s" {
		t.Error(got)
	}
}

// An interface between which and a NIC packets are wrapped is a tunnel, whatever its name.
func TestTunnelsOfScene(t *testing.T) {
	s := sceneOf(subject(t, "sampled").Report, lab(t, "quickstart").Plan)
	found := map[string]bool{}
	for _, i := range s.interfaces {
		found[i.Name] = i.Tunnel
	}
	if !found["flannel.1"] || found["cni0"] || len(found) < 2 {
		t.Errorf("tunnels among the interfaces: %v", found)
	}
}
