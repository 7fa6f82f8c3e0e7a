package compare

import (
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/verify/report"
)

// Cell is what a row says of its variant, for people; "–" where there is nothing.
func (r Row) Cell() string {
	switch {
	case len(r.States) > 0:
		return stateCell(r.States)
	case len(r.Facts) > 0:
		facts := slices.Clone(r.Facts)
		slices.Sort(facts)
		return strings.Join(slices.Compact(facts), ", ")
	case len(r.Values) > 0:
		f := r.figure()
		return strings.TrimSpace(r.Quantity(f.Median) + " " + f.PlusMinus())
	}
	return "–"
}

// stateCell sums up several runs: how many paths passed, or in how many runs they did not.
func stateCell(all []State) string {
	least := slices.MinFunc(all, func(a, b State) int { return int(a.Grade - b.Grade) })
	marks := map[Grade]string{GradeFailed: "✗", GradeBroken: "!"}
	mark, bad := marks[least.Grade]
	switch {
	case bad && len(all) == 1:
		return fmt.Sprintf("%s %d of %d", mark, least.Tried-least.Passed, least.Tried)
	case bad:
		runs := 0
		for _, s := range all {
			if s.Grade == least.Grade {
				runs++
			}
		}
		return fmt.Sprintf("%s in %d of %d runs", mark, runs, len(all))
	case least.Grade == GradeSkipped:
		return "–"
	case least.Grade == GradeOpen:
		return "open"
	}
	return fmt.Sprintf("✓ %d", least.Passed)
}

// Quantity formats a value with its unit.
func (r Row) Quantity(v float64) string {
	switch r.Unit {
	case report.UnitRate:
		return report.RateText(v)
	case report.UnitMicros:
		return report.MicrosText(v)
	case report.UnitSeconds:
		if v < 10 {
			return fmt.Sprintf("%.2f s", v)
		}
		return fmt.Sprintf("%.1f s", v)
	case report.UnitBytes:
		if r.Group() == GroupMemory {
			return fmt.Sprintf("%.0f MB", v/1e6)
		}
		return fmt.Sprintf("%.0f bytes", v)
	case UnitRatio:
		return fmt.Sprintf("%.2f", v)
	case UnitSegments:
		return fmt.Sprintf("%.0f", v)
	case UnitPerGigabit:
		return fmt.Sprintf("%.3f s/Gbit", v)
	}
	return fmt.Sprintf("%.3g %s", v, r.Unit)
}

// percent formats a change: "+12 %"; "from 0" where it has no fraction.
func percent(change *float64) string {
	if change == nil {
		return "from 0"
	}
	return fmt.Sprintf("%+.1f %%", 100**change)
}

// evidence is what a verdict about values rests on.
func (d Difference) evidence() string {
	return fmt.Sprintf("%s, p=%.2g, A=%.2f", percent(d.Change), d.Adjusted, d.Superiority)
}
