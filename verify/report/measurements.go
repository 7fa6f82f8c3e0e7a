package report

import (
	"fmt"
	"math"
	"strings"
)

// measurements writes the tables of the measured paths, if there are any.
func (t *text) measurements(r Report) {
	var throughput, latency []Result
	for _, p := range r.Paths {
		switch {
		case p.Measures == Throughput:
			throughput = append(throughput, p)
		case p.Measures == LatencyTimes:
			latency = append(latency, p)
		}
	}
	few := false // whether an interval is not a 95 % one
	if len(throughput) > 0 {
		t.throughput("Throughput", "protocol", "streams", "sender", "median", "± 95 %", "of base", "resent/lost", "CPU s/Gbit", "")
		last := ""
		for _, p := range throughput {
			route := p.Route
			f := p.Throughput
			if f == nil {
				t.figureless(p, route, p.Protocol)
				last = route
				continue
			}
			few = few || f.Confidence < confidence
			sends, trouble := "client", ""
			if f.Direction == Reverse {
				sends = "server"
			}
			switch {
			case f.Retransmits != nil:
				trouble = fmt.Sprintf("%.0f", f.Retransmits.Median)
			case f.LostPercent != nil:
				trouble = fmt.Sprintf("%.2f %%", f.LostPercent.Median)
			}
			t.throughput(once(route, &last), p.Protocol, fmt.Sprintf("×%d", f.Streams), sends, RateText(f.Median), f.PlusMinus(),
				ratioText(f.Ratio), trouble, cpuText(f.CPUSeconds), p.Outcome)
		}
	}
	if len(latency) > 0 {
		t.latency("Latency", "connection", "median", "p90", "p99", "max", "requests/s", "± 95 %", "")
		last := ""
		for _, p := range latency {
			route := p.Route
			f := p.Latency
			if f == nil {
				t.figureless(p, route, "")
				last = route
				continue
			}
			few = few || f.P50.Confidence < confidence
			kind := "one"
			if f.Connect {
				kind = "one per request"
			}
			t.latency(once(route, &last), kind, MicrosText(f.P50.Median), MicrosText(f.P90.Median), MicrosText(f.P99.Median),
				MicrosText(f.Max), fmt.Sprintf("%.0f", f.PerSecond.Median), f.PerSecond.PlusMinus(), p.Outcome)
		}
	}
	if few {
		fmt.Fprint(t, " ( ) is the range of fewer than six measurements: a 95 % interval requires six\n")
	}
}

func (t *text) throughput(route, protocol, streams, sends, median, interval, ratio, trouble, cpu, outcome string) {
	t.tableRow(outcome, fmt.Sprintf("%-16s %-8s %7s %-6s %12s %8s %8s %12s %11s", route, protocol, streams, sends, median, interval, ratio, trouble, cpu))
}

func (t *text) latency(route, kind, p50, p90, p99, highest, rate, interval, outcome string) {
	t.tableRow(outcome, fmt.Sprintf("%-16s %-18s %9s %9s %9s %9s %10s %8s", route, kind, p50, p90, p99, highest, rate, interval))
}

// tableRow writes a row of a table; without an outcome it is the header.
func (t *text) tableRow(outcome, line string) {
	if outcome == "" {
		fmt.Fprintf(t, "\n%s\n", strings.TrimRight(pad(line[:16], 16)+"   "+line[16:], " "))
		return
	}
	fmt.Fprintf(t, " %s %s\n", t.mark(outcome), strings.TrimRight(line, " "))
}

// figureless is the row of a path that has no figure: skipped, failed or broken.
func (t *text) figureless(p Result, route, protocol string) {
	fmt.Fprintf(t, " %s %-16s %s\n", t.mark(p.Outcome), route, strings.TrimSpace(protocol+" "+brief(p)))
}

// once returns a group's name in its first row only.
func once(name string, last *string) string {
	if name == *last {
		return ""
	}
	*last = name
	return name
}

// PlusMinus formats the interval of a figure as a fraction of its median; in brackets where
// it is not a 95 % one, "" for one sample.
func (f Figure) PlusMinus() string {
	text := fmt.Sprintf("±%.0f%%", math.Ceil(max(0, 100*f.spread()-1e-9)))
	switch {
	case len(f.Samples) < 2:
		return ""
	case f.Confidence < confidence:
		return "(" + text + ")"
	}
	return text
}

func ratioText(ratio float64) string {
	if ratio == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", ratio)
}

func cpuText(f *Figure) string {
	if f == nil {
		return "–"
	}
	return fmt.Sprintf("%.3f", f.Median)
}
