package report

import (
	"fmt"
	"math"
	"strings"
)

// FigureText formats a figure for people: "6.12 Gbit/s (6.05–6.31)", with the interval in the
// median's unit.
func FigureText(f Figure) string {
	scale, unit := 1.0, f.Unit
	if steps := []string{"", "k", "M", "G", "T"}; f.Unit == "bit/s" {
		step := 0
		for v := math.Abs(f.Median); v >= 1000 && step < len(steps)-1; v /= 1000 {
			step, scale = step+1, scale*1000
		}
		unit = steps[step] + unit
	}
	out := three(f.Median/scale) + " " + unit
	if f.Low < f.High {
		out += fmt.Sprintf(" (%s–%s)", three(f.Low/scale), three(f.High/scale))
	}
	return out
}

// three formats a number with three significant digits, and with all digits before the point.
func three(v float64) string {
	digits := 2
	for limit := 10.0; math.Abs(v) >= limit && digits > 0; limit *= 10 {
		digits--
	}
	s := fmt.Sprintf("%.*f", digits, v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
