package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/perf/benchfmt"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// fakeMeter answers with figures that follow from the load; order lists its requests.
type fakeMeter struct {
	order   []string
	serving map[string]string
	answer  func(l agent.Load, n int) (agent.Loaded, error) // n: how often this load was made before
	made    map[string]int
}

func (f *fakeMeter) Serve(_ context.Context, at observe.Station, s agent.LoadServer) error {
	if f.serving == nil {
		f.serving, f.made = map[string]string{}, map[string]int{}
	}
	if len(f.serving) > 0 {
		return errors.New("two at a time")
	}
	f.serving[at.Who()] = s.Kind
	return nil
}

func (f *fakeMeter) Stop(_ context.Context, at observe.Station) (agent.Served, error) {
	delete(f.serving, at.Who())
	return agent.Served{CPU: agent.CPU{Seconds: 0.5}}, nil
}

func (f *fakeMeter) Load(_ context.Context, from observe.Station, l agent.Load) (agent.Loaded, error) {
	key := fmt.Sprintf("%s %s %s ×%d reverse=%t blocks=%d connect=%t", from.Who(), l.Kind, l.Target, l.Streams, l.Reverse, l.Blocks, l.Connect)
	f.order = append(f.order, key)
	f.made[key]++
	return f.answer(l, f.made[key])
}

func number(v float64) *float64 { return &v }

// steady gives every load 1, 2, 3, … Gbit/s, and requests of 100, 200, 300, … µs.
func steady(l agent.Load, n int) (agent.Loaded, error) {
	out := agent.Loaded{Outcome: agent.Reply, BitsPerSecond: float64(n) * 1e9, Bits: float64(n) * 1e9, CPU: agent.CPU{Seconds: 0.5}}
	switch l.Kind {
	case agent.LoadTCP:
		out.Retransmits = number(float64(n))
	case agent.LoadUDP:
		out.LostPercent = number(0.5)
	case agent.LoadHTTP:
		out.CPU = agent.CPU{Missing: "the agent does not have its own cgroup: process 1 is in it too"}
	case agent.LoadRequests:
		v := float64(n) * 100
		out = agent.Loaded{Outcome: agent.Reply, Requests: &agent.Requests{PerSecond: 1e6 / v, Count: 10, P50: v, P90: 2 * v, P99: 3 * v, Max: 10 * v}}
	}
	return out, nil
}

func measuringPlan(t *testing.T, repeats int) topology.Plan {
	plan := plantest.Plan(t, "quickstart")
	plan.Verify.Throughput = labs.Throughput{Duration: labs.Duration{Duration: time.Second}, Streams: []int{1}, Repeats: repeats}
	return plan
}

func measuredRows(t *testing.T, plan topology.Plan, answer func(agent.Load, int) (agent.Loaded, error), throughput, latency []string) (observe.Snapshot, []*attempt, *fakeMeter) {
	t.Helper()
	w := observetest.Snapshot(plan, plantest.Flannel(), healthyLoads(plan))
	meter := &fakeMeter{answer: answer}
	rows := measurer{snapshot: w, on: meter, say: func(string) {}}.all(t.Context(), checks.Measurements(plan, plantest.Flannel(), throughput, latency))
	return w, rows, meter
}

// healthyLoads is healthy, with the NodePorts of the measurements.
func healthyLoads(plan topology.Plan) observe.State {
	s := observetest.Healthy(plan)
	for _, x := range s.Services {
		for i := range x.Spec.Ports {
			if x.Spec.Ports[i].Port == agent.PortLoad {
				x.Spec.Ports[i].NodePort = 32001
			}
		}
	}
	return s
}

// TestRepeatsAreInterleaved: every path once, then every path again; one server at a time.
func TestRepeatsAreInterleaved(t *testing.T) {
	_, rows, meter := measuredRows(t, measuringPlan(t, 2), steady, []string{checks.RouteNodeToNode, checks.RouteNodePort}, []string{checks.RouteIngress})
	want := []string{}
	for round := range 2 {
		for _, x := range []struct{ from, to string }{{"netlab-verify/node-w2", "172.30.0.11:29643"}, {"client", "172.30.0.11:32001"}} {
			for _, kind := range []string{"tcp", "udp"} {
				for _, reverse := range []bool{false, true} {
					if kind == "udp" && round == 0 && !reverse {
						want = append(want, fmt.Sprintf("%s udp %s ×1 reverse=false blocks=%d connect=false", x.from, x.to, burst))
					}
					if kind == "udp" && round == 0 && reverse {
						want = append(want, fmt.Sprintf("%s udp %s ×1 reverse=false blocks=%d connect=false", x.from, x.to, burst))
					}
					want = append(want, fmt.Sprintf("%s %s %s ×1 reverse=%t blocks=0 connect=false", x.from, kind, x.to, reverse))
				}
			}
		}
	}
	for range 2 {
		for _, connect := range []bool{false, true} {
			want = append(want, fmt.Sprintf("client requests http://172.30.0.202:80/measure ×0 reverse=false blocks=0 connect=%t", connect))
		}
	}
	if got := strings.Join(meter.order, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("asked:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	for _, x := range rows {
		if x.Finding.Outcome != report.Pass {
			t.Errorf("%s: %+v", x.Row.Way(), x.Finding)
		}
	}
}

func TestMeasuredOutcomes(t *testing.T) {
	routes := []string{checks.RouteNodeToNode, checks.RoutePodCrossNode}
	plan := measuringPlan(t, 6)
	_, rows, _ := measuredRows(t, plan, func(l agent.Load, n int) (agent.Loaded, error) {
		out, err := steady(l, 2)
		if strings.HasPrefix(l.Target, "172.") { // the baseline
			out, err = steady(l, 4)
		}
		return out, err
	}, routes, nil)
	for _, x := range rows {
		f := x.Finding.Throughput
		want := map[string]float64{"throughput-pod-cross-node": 0.5}[x.Row.ID]
		if f == nil || f.Ratio != want || f.Streams != 1 || f.Direction != x.Row.Direction {
			t.Fatalf("%s: %+v", x.Row.Way(), f)
		}
		// Half a second at each end.
		if f.CPUSeconds == nil || f.CPUSeconds.Median*f.Median/1e9 != 1 {
			t.Errorf("%s: CPU %+v", x.Row.Way(), f.CPUSeconds)
		}
		if (f.Retransmits != nil) != (x.Row.Protocol == "tcp") || (f.LostPercent != nil) != (x.Row.Protocol == "udp") {
			t.Errorf("%s: %+v", x.Row.Way(), f)
		}
	}

	rows1 := func(min labs.Rate, answer func(agent.Load, int) (agent.Loaded, error)) *attempt {
		plan.Verify.Throughput.Min = min
		_, rows, _ := measuredRows(t, plan, answer, []string{checks.RoutePodCrossNode}, nil)
		return rows[0]
	}
	refused := func(l agent.Load, n int) (agent.Loaded, error) {
		return agent.Loaded{Outcome: agent.Refused, Error: "iperf3: unable to connect to server: Connection refused"}, nil
	}
	for _, c := range []struct {
		name, outcome, reason string
		min                   labs.Rate
		answer                func(agent.Load, int) (agent.Loaded, error)
	}{
		{"enough", report.Pass, "", 3.5e9, steady},
		{"too little", report.Fail, "median: expected at least 4.00 Gbit/s, observed 3.50 Gbit/s", 4e9, steady},
		{"refused", report.Fail, "measurement 1 failed: iperf3: unable to connect to server: Connection refused", 0, refused},
		{"broken", report.Broken, "the measurement could not run: no iperf3", 0, func(agent.Load, int) (agent.Loaded, error) {
			return agent.Loaded{Outcome: agent.Broken, Error: "no iperf3"}, nil
		}},
		{"no agent", report.Broken, "no agent", 0, func(agent.Load, int) (agent.Loaded, error) { return agent.Loaded{}, errors.New("no agent") }},
		{"nothing", report.Fail, "no data arrived", 0, func(agent.Load, int) (agent.Loaded, error) { return agent.Loaded{Outcome: agent.Reply}, nil }},
		{"one that fails once", report.Pass, "", 0, func(l agent.Load, n int) (agent.Loaded, error) {
			if n == 2 {
				return refused(l, n)
			}
			return steady(l, n)
		}},
	} {
		if x := rows1(c.min, c.answer); x.Finding.Outcome != c.outcome || x.Finding.Reason != c.reason {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, x.Finding.Outcome, x.Finding.Reason, c.outcome, c.reason)
		}
	}
}

func TestMeasuredReports(t *testing.T) {
	for name, repeats := range map[string]int{"measured": 6, "measured-few": 2} {
		plan := measuringPlan(t, repeats)
		w, rows, _ := measuredRows(t, plan, func(l agent.Load, n int) (agent.Loaded, error) {
			if l.Reverse && l.Kind == agent.LoadTCP && strings.HasPrefix(l.Target, "10.96.") {
				return agent.Loaded{Outcome: agent.Timeout, Error: "no result after 1 s and 15 more"}, nil
			}
			return steady(l, n)
		}, checks.Routes(), checks.Routes())
		for _, x := range rows {
			x.took = 0
		}
		r := reportOf(w, rows, checks.Extent{}, "v0.28.4")
		var plain, bench bytes.Buffer
		if err := errors.Join(r.WriteText(&plain, checks.Layout(), false), r.WriteBenchfmt(&bench)); err != nil {
			t.Fatal(err)
		}
		plantest.Golden(t, name+".txt", plain.String())
		for _, line := range strings.Split(plain.String(), "\n") {
			if utf8.RuneCountInString(line) > report.Width && !strings.Contains(line, "rerun:") {
				t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
			}
		}
		checkBenchfmt(t, bench.String(), r, repeats)
	}
}

// checkBenchfmt reads what benchstat would.
func checkBenchfmt(t *testing.T, text string, r report.Report, repeats int) {
	t.Helper()
	in := benchfmt.NewReader(strings.NewReader(text), "test")
	lines, names := 0, map[string]int{}
	for in.Scan() {
		switch record := in.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Errorf("%v", record)
		case *benchfmt.Result:
			lines++
			names[record.Name.String()]++
			if record.GetConfig("provider") != "netns" || record.GetConfig("kubernetes") != r.Kubernetes {
				t.Errorf("%s: %v", record.Name, record.Config)
			}
			_, parts := record.Name.Parts()
			if len(parts) < 2 || string(parts[1]) != "/cni=flannel" {
				t.Errorf("no CNI in %s", record.Name)
			}
		}
	}
	want := 0
	for _, p := range r.Paths {
		want += p.Samples()
	}
	if in.Err() != nil || lines != want || want == 0 {
		t.Errorf("%d lines, want %d (%v)", lines, want, in.Err())
	}
	for name, n := range names {
		if n != repeats {
			t.Errorf("%s: %d times, want %d", name, n, repeats)
		}
	}
}
