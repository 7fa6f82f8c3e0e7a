package page

import (
	"fmt"
	"math"
	"strings"

	"netlab.dev/netlab/verify/report"
)

// throughput is the table of the measurements in bits per second.
type throughput struct {
	Ticks []tick
	Rows  []rate
	Few   bool // some interval is only the range of fewer than six measurements
}

// tick is a mark of a scale; At is in percent of its length.
type tick struct {
	At   float64
	Text string
}

// span is a figure on a scale, in percent of its length.
type span struct{ Low, High, Median float64 }

// rate is one row of throughput.
type rate struct {
	row
	Route, How       string
	First            bool // of its route
	Span             span
	Figure           string
	Ratio, Loss, CPU string
}

// latency is the table of requests.
type latency struct {
	Ticks []tick
	Rows  []delay
	Few   bool
}

// delay is one row of latency.
type delay struct {
	row
	Route, How               string
	First                    bool
	Span                     span
	P90At, P99At, MaxAt      float64
	P50, P90, P99, Max, Rate string
}

const interval = 0.95 // the confidence that an interval should have

func how(p report.Result) string {
	switch {
	case p.Latency != nil && p.Latency.Connect:
		return "one connection per request"
	case p.Latency != nil:
		return "one connection"
	case p.Throughput == nil:
		return p.Protocol
	}
	out := p.Protocol
	if p.Throughput.Streams > 0 {
		out += fmt.Sprintf(" ×%d", p.Throughput.Streams)
	}
	if p.Throughput.Direction == report.Reverse {
		return out + ", server sends"
	}
	return out + ", client sends"
}

// figures describes what was measured over a path.
func figures(p report.Result) (out []string) {
	interval := func(f report.Figure) string {
		switch n := len(f.Samples); {
		case n == 1:
			return "measured once"
		case f.Confidence < interval:
			return fmt.Sprintf("in brackets the range of %d measurements", n)
		default:
			return fmt.Sprintf("in brackets the 95 %% confidence interval of %d measurements", n)
		}
	}
	if f := p.Throughput; f != nil {
		more := interval(*f)
		if f.Ratio > 0 {
			more = fmt.Sprintf("%.0f %% of the baseline; ", 100*f.Ratio) + more
		}
		out = append(append(out, how(p)+": "+report.FigureText(*f), more), f.Notes()...)
	}
	if l := p.Latency; l != nil {
		out = append(out, fmt.Sprintf("%s: p50 %s, p90 %s, p99 %s", how(p), inMicros(l.P50), inMicros(l.P90), inMicros(l.P99)), interval(l.P50))
	}
	return out
}

// label is the text next to a drawn route: a median, and its interval in brackets.
func label(p report.Result) []string {
	text := ""
	switch {
	case p.Throughput != nil:
		text = report.FigureText(*p.Throughput)
	case p.Latency != nil:
		text = "p50 " + inMicros(p.Latency.P50)
	default:
		return nil
	}
	median, interval, some := strings.Cut(text, " (")
	if !some {
		return []string{median}
	}
	return []string{median, "(" + interval}
}

func throughputOf(r report.Report) throughput {
	var t throughput
	most := 0.0
	for _, p := range r.Paths {
		if p.Throughput != nil {
			most = max(most, p.Throughput.High, p.Throughput.Median)
		}
	}
	end, ticks := linear(most)
	t.Ticks = ticks
	last := ""
	for i, p := range r.Paths {
		if p.Measures != report.Throughput {
			continue
		}
		route := p.Route
		x := rate{row: row{Result: p, Index: i, Brief: report.Brief(p)}, Route: route, How: how(p), First: route != last}
		last = route
		if f := p.Throughput; f != nil {
			x.Figure = report.FigureText(*f)
			x.Span = span{100 * f.Low / end, 100 * f.High / end, 100 * f.Median / end}
			t.Few = t.Few || f.Confidence < interval
			if f.Ratio > 0 {
				x.Ratio = fmt.Sprintf("%.0f %%", 100*f.Ratio)
			}
			switch {
			case f.Retransmits != nil:
				x.Loss = fmt.Sprintf("%.0f resent", f.Retransmits.Median)
			case f.LostPercent != nil:
				x.Loss = fmt.Sprintf("%.2f %% lost", f.LostPercent.Median)
			}
			if f.CPUSeconds != nil {
				x.CPU = fmt.Sprintf("%.3f", f.CPUSeconds.Median)
			}
		}
		t.Rows = append(t.Rows, x)
	}
	return t
}

// linear chooses the end of a scale from 0 for a rate, and its ticks.
func linear(most float64) (end float64, ticks []tick) {
	if most <= 0 {
		return 1, nil
	}
	step := math.Pow(10, math.Floor(math.Log10(most)))
	for _, part := range []float64{0.2, 0.25, 0.5, 1, 2} {
		if most <= 5*part*step {
			step *= part
			break
		}
	}
	n := math.Ceil(most/step - 1e-9)
	for i := 0.0; i <= n; i++ {
		text := "0"
		if i > 0 {
			text = report.FigureText(report.Figure{Unit: "bit/s", Median: i * step})
		}
		ticks = append(ticks, tick{100 * i / n, text})
	}
	return n * step, ticks
}

func latencyOf(r report.Report) latency {
	var t latency
	low, high := math.Inf(1), 0.0
	for _, p := range r.Paths {
		if l := p.Latency; l != nil && l.P50.Low > 0 {
			low, high = min(low, l.P50.Low), max(high, l.Max, l.P99.High)
		}
	}
	at, ticks := logarithmic(low, high)
	t.Ticks = ticks
	last := ""
	for i, p := range r.Paths {
		if p.Measures != report.LatencyTimes {
			continue
		}
		route := p.Route
		x := delay{row: row{Result: p, Index: i, Brief: report.Brief(p)}, Route: route, How: how(p), First: route != last}
		last = route
		if l := p.Latency; l != nil {
			x.Span = span{at(l.P50.Low), at(l.P50.High), at(l.P50.Median)}
			x.P90At, x.P99At, x.MaxAt = at(l.P90.Median), at(l.P99.Median), at(l.Max)
			x.P50, x.P90, x.P99 = inMicros(l.P50), micros(l.P90.Median), micros(l.P99.Median)
			x.Max, x.Rate = micros(l.Max), fmt.Sprintf("%.0f", l.PerSecond.Median)
			t.Few = t.Few || l.P50.Confidence < interval
		}
		t.Rows = append(t.Rows, x)
	}
	return t
}

// logarithmic is a scale of whole decades around some times in µs.
func logarithmic(low, high float64) (at func(float64) float64, ticks []tick) {
	if high <= 0 || math.IsInf(low, 0) {
		return func(float64) float64 { return 0 }, nil
	}
	first, last := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high)+1e-9)
	if last <= first {
		last = first + 1
	}
	at = func(v float64) float64 {
		return min(100, max(0, 100*(math.Log10(max(v, 1e-9))-first)/(last-first)))
	}
	for d := first; d <= last; d++ {
		ticks = append(ticks, tick{at(math.Pow(10, d)), micros(math.Pow(10, d))})
	}
	return at, ticks
}

// micros formats µs with three digits in the unit that fits: "74 µs", "1.41 ms".
func micros(v float64) string { return inMicros(report.Figure{Median: v}) }

// inMicros formats a figure in µs with its interval, in the unit that fits its median.
func inMicros(f report.Figure) string {
	scale, unit := 1.0, "µs"
	switch {
	case f.Median >= 999.5e3:
		scale, unit = 1e6, "s"
	case f.Median >= 999.5:
		scale, unit = 1e3, "ms"
	}
	return report.FigureText(report.Figure{Unit: unit, Median: f.Median / scale, Low: f.Low / scale, High: f.High / scale})
}
