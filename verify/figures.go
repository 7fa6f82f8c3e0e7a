package verify

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/agent"
)

// The units of a Figure.
const (
	unitRate    = "bit/s"
	unitMicros  = "µs"
	unitRequest = "requests/s"
)

const confidence = 0.95

// figureOf sums samples up. The interval is that of order statistics, which assumes
// nothing of how the samples are distributed.
func figureOf(unit string, samples []float64) Figure {
	s := benchmath.NewSample(slices.Clone(samples), &benchmath.DefaultThresholds)
	sum := benchmath.AssumeNothing.Summary(s, confidence)
	f := Figure{Unit: unit, Median: sum.Center, Low: sum.Lo, High: sum.Hi, Confidence: sum.Confidence, Samples: samples}
	if math.IsInf(f.Low, 0) || math.IsInf(f.High, 0) {
		// Too few: the median lies between the least and the most but for all of them
		// falling on one side of it.
		f.Low, f.High = slices.Min(samples), slices.Max(samples)
		f.Confidence = 1 - math.Pow(2, float64(1-len(samples)))
	}
	return f
}

// spread is the wider half of the interval, of the median.
func (f Figure) spread() float64 {
	if f.Median == 0 {
		return 0
	}
	return max(f.High-f.Median, f.Median-f.Low) / f.Median
}

// judgeMeasured sums the samples of a path up, of which there is at least one.
func (w world) judgeMeasured(p Path, samples []sample, rate labs.Rate) finding {
	f := finding{Outcome: Pass, nodes: w.nodesOf(p), Observed: Observed{Backend: w.cast.Echo[0].Name, Node: w.cast.Echo[0].Node}}
	if p.To.Kind == AtNode {
		f.Observed = Observed{Backend: nodeAgent(p.To.Name), Node: p.To.Name}
	}
	if len(samples) == 0 {
		f.Outcome, f.Reason = Broken, "it was not measured"
		return f
	}
	if p.isLatency() {
		f.Latency = latencyOf(p, samples)
		if f.Latency == nil {
			f.Outcome, f.Reason = Broken, "the agent timed no request"
		}
		return f
	}
	figure := figureOf(unitRate, valuesOf(samples, func(s sample) (float64, bool) { return s.BitsPerSecond, true }))
	figure.Streams, figure.Direction = p.Streams, p.Direction
	part := func(unit string, of func(sample) (float64, bool)) *Figure {
		values := valuesOf(samples, of)
		if len(values) == 0 {
			return nil
		}
		sum := figureOf(unit, values)
		return &sum
	}
	there := func(v *float64) (float64, bool) {
		if v == nil {
			return 0, false
		}
		return *v, true
	}
	figure.Retransmits = part("segments", func(s sample) (float64, bool) { return there(s.Retransmits) })
	figure.LostPercent = part("%", func(s sample) (float64, bool) { return there(s.LostPercent) })
	missing := ""
	figure.CPUSeconds = part("s/Gbit", func(s sample) (float64, bool) {
		missing = or(missing, s.CPU.Missing)
		return s.CPU.Seconds / s.Bits * 1e9, s.CPU.Missing == "" && s.Bits > 0
	})
	f.Throughput = &figure
	if missing != "" {
		figure.CPUSeconds = nil // of some samples, it would not be that of the others
		f.property("CPU seconds a gigabit", "counted at both ends", "not counted: "+missing, true)
	}
	if p.Protocol == agent.LoadUDP {
		f.property("sent by UDP", "three quarters of what a burst gets through", rateText(float64(rate)), true)
	}
	least := w.plan.Verify.Throughput.Min
	switch {
	case figure.Median == 0:
		f.Outcome, f.Reason = Fail, "nothing arrived"
	case least > 0 && p.Protocol != agent.LoadUDP:
		f.property("median", "at least "+rateText(float64(least)), rateText(figure.Median), figure.Median >= float64(least))
	}
	return f
}

func valuesOf(samples []sample, of func(sample) (float64, bool)) []float64 {
	var out []float64
	for _, s := range samples {
		if v, ok := of(s); ok {
			out = append(out, v)
		}
	}
	return out
}

// latencyOf is nil where no sample has requests.
func latencyOf(p Path, samples []sample) *Latency {
	part := func(unit string, of func(agent.Requests) float64) Figure {
		var values []float64
		for _, s := range samples {
			values = append(values, of(*s.Requests))
		}
		return figureOf(unit, values)
	}
	samples = slices.DeleteFunc(slices.Clone(samples), func(s sample) bool { return s.Requests == nil || s.Requests.Count == 0 })
	if len(samples) == 0 {
		return nil
	}
	highest := part(unitMicros, func(r agent.Requests) float64 { return r.Max })
	return &Latency{
		Connect:   p.Connect,
		P50:       part(unitMicros, func(r agent.Requests) float64 { return r.P50 }),
		P90:       part(unitMicros, func(r agent.Requests) float64 { return r.P90 }),
		P99:       part(unitMicros, func(r agent.Requests) float64 { return r.P99 }),
		Max:       slices.Max(highest.Samples),
		PerSecond: part(unitRequest, func(r agent.Requests) float64 { return r.PerSecond }),
	}
}

// compare gives each throughput its ratio to the baseline of the same run.
func compare(rows []*row) {
	for _, x := range rows {
		for _, base := range rows {
			if x.path.baseline(base.path) && x.finding.Throughput != nil && base.finding.Throughput != nil && base.finding.Throughput.Median > 0 {
				x.finding.Throughput.Ratio = x.finding.Throughput.Median / base.finding.Throughput.Median
			}
		}
	}
}

// rateText writes bits a second with three digits: "12.3 Gbit/s".
func rateText(bits float64) string { return scaled(bits, "bit/s", "", "k", "M", "G", "T") }

// microsText writes µs likewise.
func microsText(micros float64) string { return scaled(micros, "s", "µ", "m", "") }

// scaled writes a value in the unit whose prefix, of steps of a thousand, leaves 1 to 999.
func scaled(v float64, unit string, prefixes ...string) string {
	i := 0
	for ; v >= 999.5 && i < len(prefixes)-1; i++ {
		v /= 1000
	}
	digits := 2
	for limit := 9.995; v >= limit && digits > 0; limit *= 10 {
		digits--
	}
	return fmt.Sprintf("%.*f %s%s", digits, v, prefixes[i], unit)
}
