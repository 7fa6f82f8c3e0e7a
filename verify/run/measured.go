package run

import (
	"cmp"
	"fmt"
	"slices"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// judgeMeasured summarizes the samples of a path, of which there is at least one.
func judgeMeasured(w observe.Snapshot, p checks.Row, samples []sample, rate labs.Rate) checks.Finding {
	f := checks.Finding{Outcome: report.Pass, Nodes: checks.NodesOf(w, p), Observed: report.Observed{Backend: w.Pods.Echo[0].Name, Node: w.Pods.Echo[0].Node}}
	if p.To.Kind == report.AtNode {
		f.Observed = report.Observed{Backend: workload.NodeAgent(p.To.Name), Node: p.To.Name}
	}
	if len(samples) == 0 {
		f.Outcome, f.Reason = report.Broken, "not measured"
		return f
	}
	if p.IsLatency() {
		f.Latency = latencyOf(p, samples)
		if f.Latency == nil {
			f.Outcome, f.Reason = report.Broken, "the agent timed no request"
		}
		return f
	}
	figure := report.FigureOf(report.UnitRate, valuesOf(samples, func(s sample) (float64, bool) { return s.BitsPerSecond, true }))
	figure.Streams, figure.Direction = p.Streams, p.Direction
	part := func(unit string, of func(sample) (float64, bool)) *report.Figure {
		values := valuesOf(samples, of)
		if len(values) == 0 {
			return nil
		}
		sum := report.FigureOf(unit, values)
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
		missing = cmp.Or(missing, s.CPU.Missing)
		return s.CPU.Seconds / s.Bits * 1e9, s.CPU.Missing == "" && s.Bits > 0
	})
	f.Throughput = &figure
	if missing != "" {
		figure.CPUSeconds = nil // some samples do not represent the others
		figure.CPUMissing = missing
	}
	if p.Protocol == agent.LoadUDP {
		figure.Offered = float64(rate)
	}
	least, of := leastOf(w, p)
	switch {
	case figure.Median == 0:
		f.Outcome, f.Reason = report.Fail, "no data arrived"
	case least > 0 && p.Protocol != agent.LoadUDP:
		f.Assert(report.Property{Name: "median", Expected: "at least " + report.RateText(least) + of, Observed: report.RateText(figure.Median),
			OK: figure.Median >= least})
	}
	return f
}

// leastOf is what the median of a throughput must be at least, and why where that is less than
// verify.throughput.min: TCP gets most of a link's rate, and how much of a link with delay or loss nobody
// can say. 0 stands for any.
func leastOf(w observe.Snapshot, p checks.Row) (least float64, of string) {
	least = float64(w.Plan.Verify.Throughput.Min)
	worst, slowest := checks.Crossed(w, p)
	half := float64(worst.Rate) / 2
	switch {
	case worst.Emulated():
		return 0, ""
	case worst.Rate > 0 && half < least:
		return half, fmt.Sprintf(", half of the rate of the link of %s", slowest)
	}
	return least, ""
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
func latencyOf(p checks.Row, samples []sample) *report.Latency {
	part := func(unit string, of func(agent.Requests) float64) report.Figure {
		var values []float64
		for _, s := range samples {
			values = append(values, of(*s.Requests))
		}
		return report.FigureOf(unit, values)
	}
	samples = slices.DeleteFunc(slices.Clone(samples), func(s sample) bool { return s.Requests == nil || s.Requests.Count == 0 })
	if len(samples) == 0 {
		return nil
	}
	highest := part(report.UnitMicros, func(r agent.Requests) float64 { return r.Max })
	return &report.Latency{
		Connect:   p.Connect,
		P50:       part(report.UnitMicros, func(r agent.Requests) float64 { return r.P50 }),
		P90:       part(report.UnitMicros, func(r agent.Requests) float64 { return r.P90 }),
		P99:       part(report.UnitMicros, func(r agent.Requests) float64 { return r.P99 }),
		Max:       slices.Max(highest.Samples),
		PerSecond: part(report.UnitRequest, func(r agent.Requests) float64 { return r.PerSecond }),
	}
}

// compare sets each throughput's ratio to the baseline of the same run.
func compare(rows []*attempt) {
	for _, x := range rows {
		for _, base := range rows {
			if x.Row.Baseline(base.Row) && x.Finding.Throughput != nil && base.Finding.Throughput != nil && base.Finding.Throughput.Median > 0 {
				x.Finding.Throughput.Ratio = x.Finding.Throughput.Median / base.Finding.Throughput.Median
			}
		}
	}
}
