package compare

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/report"
)

// made are the results of one variant whose values are drawn from distributions with tails, as those
// of real labs have. Worse multiplies throughput; mtu is what passes unfragmented.
func made(random *rand.Rand, runs int, worse float64, mtu float64) Results {
	noise := func(center float64) float64 {
		v := center * (1 + 0.02*random.NormFloat64())
		if random.Float64() < 0.1 {
			v *= 1 - 0.3*random.Float64() // something else ran
		}
		return v
	}
	r := Results{SchemaVersion: SchemaVersion, Repeat: runs, Variants: []Variant{{Name: "made", Lab: labs.MustName("made"), CNI: labs.CNI{Name: "flannel"}, Proxy: "nftables"}}}
	for round := range runs {
		run := Run{Round: round, UpSeconds: noise(24), VerifySeconds: noise(1.5), DownSeconds: noise(2), NodeBytes: int64(noise(400e6)), TotalSeconds: 30}
		for _, w := range []string{"coredns", "etcd", "kube-apiserver", "kube-flannel-ds"} {
			run.Usage = append(run.Usage, Usage{w, int64(noise(50e6)), noise(3)})
		}
		payload := report.Property{Measurement: &report.Measurement{Key: report.MeasuredPayload, Value: mtu, Unit: report.UnitBytes}}
		run.Report = &report.Report{CNI: report.CNI{Name: "flannel", Version: "v1"}, Paths: []report.Result{
			{ID: "pod-to-pod", Outcome: report.Pass, Properties: []report.Property{payload}},
			{ID: "policy", Outcome: report.Pass, Expected: report.NotEnforced}}}
		run.Measured = &report.Report{}
		for _, route := range []string{report.BareRoute, "pod-cross-node", "clusterip", "nodeport", "loadbalancer"} {
			f := report.FigureOf(report.UnitRate, []float64{noise(8e9) * worse})
			f.Streams, f.Direction = 1, report.Forward
			if route != report.BareRoute {
				f.Ratio = noise(0.6) * worse
			}
			l := report.Latency{P50: report.FigureOf(report.UnitMicros, []float64{noise(40)}), P90: report.FigureOf(report.UnitMicros, []float64{noise(60)}), P99: report.FigureOf(report.UnitMicros, []float64{noise(200)})}
			run.Measured.Paths = append(run.Measured.Paths, report.Result{ID: "throughput-" + route, Route: route, Protocol: "tcp", Measures: report.Throughput, Outcome: report.Pass, Throughput: &f},
				report.Result{ID: "latency-" + route, Route: route, Protocol: "tcp", Measures: report.LatencyTimes, Outcome: report.Pass, Latency: &l})
		}
		r.Runs = append(r.Runs, run)
	}
	return r
}

// A variant against itself: ten times ten runs, and at least 95 % of all rows do not differ.
func TestSameAgainstItself(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rows, differ := 0, 0
	for range 10 {
		c := Between(made(random, 10, 1, 1422).Columns()[0], made(random, 10, 1, 1422).Columns()[0], nil)
		if c.Needed != 0 {
			t.Errorf("ten runs are too few for %d rows: %d are needed", len(c.Differences), c.Needed)
		}
		for _, d := range c.Differences {
			rows++
			if d.Verdict != NoDifference && d.Verdict != Equal {
				differ++
			}
		}
	}
	if rows < 300 || float64(differ) > 0.05*float64(rows) {
		t.Errorf("%d of %d rows differ", differ, rows)
	}
}

// Worse ones are caught, in the rows that are worse and in no others: throughput 30 % lower, an MTU
// lowered by 100.
func TestWorseIsCaught(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	old, new := made(random, 15, 1, 1422).Columns()[0], made(random, 15, 0.7, 1322).Columns()[0]
	c := Between(old, new, nil)
	for _, d := range c.Differences {
		want := NoDifference
		switch group := (Row{Key: d.Key}).Group(); group {
		case GroupThroughput, GroupRatio, GroupMTU:
			want = Worse
		case GroupPaths:
			want = Equal
		}
		if d.Verdict != want {
			t.Errorf("%s, want %s", d.sentence(), want)
		}
	}
	for expression, fails := range map[string]bool{
		"throughput<-10%":            true,
		"throughput<-50%":            false,
		"throughput":                 true,
		"payload":                    true,
		"paths,latency.p99>+20%":     false,
		"time.up>+5%,memory,cpu>+5%": false,
		"ratio.clusterip<-10%":       true,
	} {
		conditions, err := ParseConditions(expression)
		if err != nil {
			t.Fatal(err)
		}
		all, _, err := Judge(conditions, [][2]Column{{old, new}})
		if err != nil || Failed(all) != fails {
			t.Errorf("%s: fails %t (%v), want %t: %+v", expression, Failed(all), err, fails, all)
		}
	}
}

// A condition that nothing could violate is refused; where another one is violated, that is the result.
func TestIdleConditions(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	old, new := made(random, 2, 1, 1422), made(random, 2, 0.5, 1422)
	pair := func() [][2]Column { return [][2]Column{{old.Columns()[0], new.Columns()[0]}} }
	judge := func(expression string) ([]Judged, error) {
		conditions, err := ParseConditions(expression)
		if err != nil {
			t.Fatal(err)
		}
		all, _, err := Judge(conditions, pair())
		return all, err
	}
	for expression, want := range map[string]string{
		"paths,throughput<-10%":    "column 7: throughput<-10% cannot fail: no difference is significant with 2 runs against 2",
		"latency.p98":              "column 1: neither result has a row latency.p98",
		"paths,  latency.p99<-10%": "column 9: latency.p99.node-to-node.one is better when lower",
	} {
		if _, err := judge(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", expression, err, want)
		}
	}
	for i := range new.Runs {
		new.Runs[i].Report.Paths[0].Outcome = report.Fail
	}
	if all, err := judge("paths,throughput<-10%"); err != nil || !Failed(all) {
		t.Errorf("a path that fails: %v, %+v", err, all)
	}
	new.Runs = new.Runs[:1]
	new.Runs[0].Report, new.Runs[0].Measured = nil, nil
	if all, err := judge("paths,throughput<-10%"); err != nil || !Failed(all) {
		t.Errorf("a lab that could not be made: %v, %+v", err, all)
	}
}

func TestStateVerdict(t *testing.T) {
	states := func(text string) (all []State) {
		grades := map[rune]Grade{'x': GradeFailed, '!': GradeBroken, '-': GradeSkipped, 'o': GradeOpen, '+': GradePassed}
		for _, r := range text {
			all = append(all, State{Grade: grades[r], Tried: 1})
		}
		return all
	}
	for _, c := range []struct {
		old, new string
		want     Verdict
	}{
		{"++", "++", Equal}, {"++", "+x", Worse}, {"+x", "+x", Equal}, {"+x", "xx", Worse}, {"xx", "++", BetterThan}, {"+x", "++", BetterThan},
		{"++", "oo", Worse}, {"oo", "++", BetterThan}, {"+", "-", Worse}, {"+", "!", Worse}, {"!", "x", Worse}, {"--", "--", Equal},
	} {
		if got := stateVerdict(states(c.old), states(c.new)); got != c.want {
			t.Errorf("%s → %s: %s, want %s", c.old, c.new, got, c.want)
		}
	}
}

// Figures by hand: Holm's example of four tests, and samples that do not overlap.
func TestStatistics(t *testing.T) {
	got := holm([]float64{0.01, 0.04, 0.03, 0.005})
	for i, want := range []float64{0.03, 0.06, 0.06, 0.02} {
		if math.Abs(got[i]-want) > 1e-9 {
			t.Errorf("holm: %v", got)
		}
	}
	low, high := []float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}
	if p, least := mannWhitney(low, high), leastP(5, 5); math.Abs(p-least) > 1e-9 || least > 0.008 || least < 0.0079 {
		t.Errorf("p of two samples of five apart is %v, the least possible %v", p, least)
	}
	if a := superiority(low, high); a != 1 {
		t.Errorf("superiority: %v", a)
	}
	if a := superiority(low, low); a != 0.5 {
		t.Errorf("superiority of equal samples: %v", a)
	}
	if p := mannWhitney(low, low); p < 0.9 {
		t.Errorf("p of equal samples: %v", p)
	}
	for rows, want := range map[int]int{1: 4, 6: 5, 20: 6, 80: 7} {
		if got := runsFor(rows); got != want {
			t.Errorf("%d rows: %d runs, want %d", rows, got, want)
		}
	}
}

func TestParseConditions(t *testing.T) {
	for expression, want := range map[string]string{
		"":                     "column 1: a condition is missing",
		"paths,":               "column 7: a condition is missing",
		"paths,thruput<-10%":   `column 7: no rows are called "thruput"`,
		"throughput<10%":       `column 1: "throughput<10%" is not a condition`,
		"throughput<-10":       `column 1: "throughput<-10" is not a condition`,
		"throughput<+10%":      `column 1: "throughput<+10%" is always true or never`,
		"paths, paths<-10%":    "column 8: paths have no values",
		"latency.p99>+0%":      "column 1: a limit of 0 % is none",
		"throughput<-10%, x y": `column 18: "x y" is not a condition`,
	} {
		if all, err := ParseConditions(expression); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", expression, all, err, want)
		}
	}
	all, err := ParseConditions("paths, throughput<-10%,latency.p99>+2.5%")
	if err != nil || len(all) != 3 || all[1].Limit != -0.1 || all[2].Row != "latency.p99" || all[2].Limit != 0.025 {
		t.Errorf("%+v, %v", all, err)
	}
}

// The order of runs: each round has all variants, and begins with another one; what was made is left out.
func TestLeft(t *testing.T) {
	r := Results{Repeat: 3, Variants: make([]Variant, 3)}
	order := func() string {
		var text []string
		for _, s := range r.Left() {
			text = append(text, fmt.Sprint(s.Variant))
		}
		return strings.Join(text, "")
	}
	if got := order(); got != "012120201" {
		t.Errorf("order %s", got)
	}
	r.Runs = []Run{{Variant: 0, Round: 0, TotalSeconds: 10}, {Variant: 2, Round: 1, TotalSeconds: 40}}
	if got := order(); got != "1210201" {
		t.Errorf("order of the rest %s", got)
	}
	if left := r.TimeLeft(r.Left()).Seconds(); left != 2*10+3*25+2*40 {
		t.Errorf("%v s left", left)
	}
}

// Only more repeats continue a comparison; everything else makes it another one.
func TestContinue(t *testing.T) {
	base := func() Results {
		return Results{Netlab: "v1", Machine: Machine{Cores: 2}, Repeat: 2, Variants: []Variant{{Name: "a", Plan: "1"}}, Runs: nil}
	}
	earlier := base()
	earlier.Runs = []Run{{}}
	more := base()
	more.Repeat = 5
	joined, err := more.Continue(earlier)
	if err != nil || joined.Repeat != 5 || len(joined.Runs) != 1 {
		t.Errorf("%+v, %v", joined, err)
	}
	for want, change := range map[string]func(*Results){
		"another version of netlab (v1)":                  func(r *Results) { r.Netlab = "v2" },
		"another machine":                                 func(r *Results) { r.Machine.Cores = 4 },
		"other measurements":                              func(r *Results) { r.Measured.Thorough = true },
		"other variants (a)":                              func(r *Results) { r.Variants[0].Name = "b" },
		"another plan of a: its lab file was changed":     func(r *Results) { r.Variants[0].Plan = "2" },
		"holds another comparison: another version of ne": func(r *Results) { r.Netlab = "" },
	} {
		other := base()
		change(&other)
		if _, err := other.Continue(earlier); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Each outcome of a kind of path has its own cell, and a lab that could not be created keeps its column.
func TestText(t *testing.T) {
	row := func(id, outcome, expected string) report.Result {
		return report.Result{ID: id, Outcome: outcome, Expected: expected}
	}
	enforced := row("policy-default-deny", report.Pass, report.Enforced)
	enforced.Properties = []report.Property{{Measurement: &report.Measurement{Key: report.MeasuredEffect, Value: 0.3, Unit: report.UnitSeconds}}}
	r := Results{Variants: []Variant{
		{Name: "one", CNI: labs.CNI{Name: "flannel", Options: map[string]string{"backend": "vxlan"}}, Proxy: "nftables"},
		{Name: "two", CNI: labs.CNI{Name: "calico"}, Proxy: "iptables"}, {Name: "three", CNI: labs.CNI{Name: "cilium"}, Proxy: "none"}},
		Runs: []Run{
			{Variant: 0, UpSeconds: 20.44, VerifySeconds: 1.5, DownSeconds: 1, NodeBytes: 336_000_000,
				Report: &report.Report{CNI: report.CNI{Name: "flannel", Version: "v1"}, Paths: []report.Result{
					row("node-to-pod", report.Pass, report.Reachable), row("node-to-pod", report.Pass, report.Reachable),
					row("pod-to-clusterip", report.Fail, report.Reachable), row("pod-to-clusterip", report.Broken, report.Reachable),
					row("pod-to-headless", report.Broken, report.Reachable),
					row("policy-default-deny", report.Pass, report.NotEnforced),
					row("policy-l7", report.Skip, report.Enforced)}}},
			{Variant: 1, Report: &report.Report{CNI: report.CNI{Name: "calico", Version: "v2"}, Paths: []report.Result{enforced}}},
			{Variant: 2, Error: "no kernel"}}}
	var out strings.Builder
	if err := OutcomeOf(r).WriteText(&out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if len([]rune(strings.TrimRight(line, "\n"))) > 100 {
			t.Errorf("more than 100 columns: %q", line)
		}
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{
		"1 one flannel v1 backend vxlan kube-proxy nftables 1 run",
		"1 2 3",
		"lab ✓ 1 ✓ 1 ✗ 1 of 1",
		"node-to-pod ✓ 2 – –",
		"pod-to-clusterip ✗ 2 of 2 – –",
		"pod-to-headless ! 1 of 1 – –",
		"policy-default-deny open ✓ 1 –",
		"policy-l7 – – –",
		"up, verified 20.4 s – –",
		"policy to effect – 0.30 s –",
		"memory per Node 336 MB – –",
		"✗ 3 three: no kernel",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}

// What was saved is read again; other files are refused.
func TestParse(t *testing.T) {
	r := made(rand.New(rand.NewPCG(7, 8)), 2, 1, 1422)
	text, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text)
	if err != nil || len(again.Runs) != 2 || again.Runs[1].UpSeconds != r.Runs[1].UpSeconds || again.Variants[0].Lab != r.Variants[0].Lab {
		t.Errorf("%+v, %v", again, err)
	}
	for text, want := range map[string]string{
		"kind: Lab": "is not a file of results",
		"{}":        "is not a file of results",
		`{"schemaVersion": 2, "variants": [{"name": "a", "lab": "a"}]}`:                         "has schema version 2, and this netlab reads 1",
		`{"schemaVersion": 1, "variants": [{"name": "a", "lab": "a"}], "runs":[{"variant":1}]}`: "has a run of variant 1, of 1",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Each format has all rows and the conditions.
func TestFormats(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	old, new := made(random, 7, 1, 1422), made(random, 7, 0.8, 1422)
	conditions, err := ParseConditions("paths,throughput<-10%")
	if err != nil {
		t.Fatal(err)
	}
	o, err := Against(new, old, "old.json", conditions)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		write func(*strings.Builder) error
		want  []string
	}{
		"text":     {func(w *strings.Builder) error { return o.WriteText(w) }, []string{"made against made of old.json", "✗ throughput<-10%: 5 of 5 rows got worse", "✓ paths: none of 13 rows got worse", "worse ("}},
		"markdown": {func(w *strings.Builder) error { return o.WriteMarkdown(w) }, []string{"worse than old.json", "| ❌ `throughput<-10%` | 5 | 5 |", "| ✅ `paths` | 13 | 0 |", "<details>", "| memory per Node |"}},
		"junit":    {func(w *strings.Builder) error { return o.WriteJUnit(w) }, []string{`tests="18" failures="5"`, `name="throughput.clusterip.tcp.x1.forward"`, `<failure message="throughput&lt;-10%:`}},
		"html":     {func(w *strings.Builder) error { return o.WriteHTML(w) }, []string{"<svg", "<circle", `class="worse">✗ throughput&lt;-10%: 5 of 5 rows got worse`, "memory per Node"}},
		"benchfmt": {func(w *strings.Builder) error { return o.WriteBenchfmt(w) }, []string{"Unit bit/s better=higher", "BenchmarkCompare/row=time.up/variant=made 1 ", " sec"}},
	} {
		var out strings.Builder
		if err := c.write(&out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%.3000s", name, want, out.String())
			}
		}
	}
}
