package report

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// The units of a Figure.
const (
	UnitRate    = "bit/s"
	UnitMicros  = "µs"
	UnitRequest = "requests/s"
)

const confidence = 0.95

// FigureOf summarizes samples. The interval is that of order statistics, which assumes
// nothing about the distribution.
func FigureOf(unit string, samples []float64) Figure {
	s := benchmath.NewSample(slices.Clone(samples), &benchmath.DefaultThresholds)
	sum := benchmath.AssumeNothing.Summary(s, confidence)
	f := Figure{Unit: unit, Median: sum.Center, Low: sum.Lo, High: sum.Hi, Confidence: sum.Confidence, Samples: samples}
	if math.IsInf(f.Low, 0) || math.IsInf(f.High, 0) {
		// Too few: the median lies between the smallest and the largest, unless all samples
		// are on one side of it.
		f.Low, f.High = slices.Min(samples), slices.Max(samples)
		f.Confidence = 1 - math.Pow(2, float64(1-len(samples)))
	}
	return f
}

// spread is the wider half of the interval, as a fraction of the median.
func (f Figure) spread() float64 {
	if f.Median == 0 {
		return 0
	}
	return max(f.High-f.Median, f.Median-f.Low) / f.Median
}

// RateText formats bits per second with three digits: "12.3 Gbit/s".
func RateText(bits float64) string { return scaled(bits, "bit/s", "", "k", "M", "G", "T") }

// MicrosText formats µs likewise.
func MicrosText(micros float64) string { return scaled(micros, "s", "µ", "m", "") }

// scaled formats a value with the prefix, in steps of a thousand, that leaves 1 to 999.
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
