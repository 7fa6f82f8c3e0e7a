package verifytest

import (
	"testing"

	"netlab.dev/netlab/verify/report"
)

// Measured checks that the measurements of a report are plausible: every row of the named
// routes has figures, medians lie in their intervals, percentiles rise, and both ends spent
// CPU time.
func Measured(t testing.TB, r report.Report, routes ...string) {
	t.Helper()
	rows := map[string]int{}
	for _, p := range r.Paths {
		if p.Measures == "" {
			continue
		}
		rows[p.Route]++
		switch {
		case p.Outcome != report.Pass:
			t.Errorf("%s %s: %s %s", title(p), p.Protocol, p.Outcome, p.Reason)
		case p.Measures == report.Throughput:
			throughput(t, p)
		default:
			latency(t, p)
		}
	}
	for _, route := range routes {
		if rows[route] == 0 {
			t.Errorf("route %s was not measured", route)
		}
	}
}

func throughput(t testing.TB, p report.Result) {
	t.Helper()
	f := p.Throughput
	switch {
	case f == nil:
		t.Errorf("%s %s has no figure", title(p), p.Protocol)
	case f.Unit != "bit/s" || f.Median < 1e6 || f.Low > f.Median || f.Median > f.High:
		t.Errorf("%s %s: %+v", title(p), p.Protocol, f)
	case f.CPUSeconds == nil || f.CPUSeconds.Median <= 0:
		t.Errorf("%s %s: no CPU time: %+v", title(p), p.Protocol, p.Properties)
	case (p.Protocol == "tcp") != (f.Retransmits != nil), (p.Protocol == "udp") != (f.LostPercent != nil):
		t.Errorf("%s %s: retransmits %+v, lost %+v", title(p), p.Protocol, f.Retransmits, f.LostPercent)
	}
}

func latency(t testing.TB, p report.Result) {
	t.Helper()
	f := p.Latency
	switch {
	case f == nil:
		t.Errorf("%s has no figure", title(p))
	case f.P50.Median <= 0 || f.P50.Median > f.P90.Median || f.P90.Median > f.P99.Median || f.P99.Median > f.Max:
		t.Errorf("%s: p50 %g, p90 %g, p99 %g, max %g µs", title(p), f.P50.Median, f.P90.Median, f.P99.Median, f.Max)
	case f.PerSecond.Median < 1:
		t.Errorf("%s: %g requests a second", title(p), f.PerSecond.Median)
	}
}
