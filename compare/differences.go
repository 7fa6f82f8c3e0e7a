package compare

import (
	"math"

	"netlab.dev/netlab/verify/report"
)

// Verdict is how a row of one column differs from that of another.
type Verdict string

// Verdicts. Where only few runs were made, NoDifference is the only one of values.
const (
	Equal        Verdict = "equal"                     // of states and facts
	NoDifference Verdict = "no significant difference" // of values
	BetterThan   Verdict = "better"
	Worse        Verdict = "worse"
	Different    Verdict = "different" // of what is neither better nor worse
	Gone         Verdict = "not measured"
	New          Verdict = "new"
)

// Difference is a row of two columns.
type Difference struct {
	Key     string  `json:"key"`
	Name    string  `json:"name"`
	Unit    string  `json:"unit,omitempty"`
	Verdict Verdict `json:"verdict"`
	From    string  `json:"from"` // for people
	To      string  `json:"to"`

	Change      *float64 `json:"change,omitempty"`      // of the median, as a fraction; none from 0
	P           float64  `json:"p,omitempty"`           // of the Mann-Whitney test
	Adjusted    float64  `json:"adjusted,omitempty"`    // for the number of rows
	Superiority float64  `json:"superiority,omitempty"` // the probability that a value of To is higher
	TooFew      bool     `json:"tooFewRuns,omitempty"`  // no difference could be significant

	old, new   Row
	hadA, hadB bool
}

// IsValue reports whether the row has values, which are tested.
func (d Difference) IsValue() bool { return len(d.old.Values)+len(d.new.Values) > 0 }

// Comparison is one column against another.
type Comparison struct {
	From        string       `json:"from"`
	To          string       `json:"to"`
	Runs        [2]int       `json:"runs"` // of each
	Differences []Difference `json:"differences"`
	Needed      int          `json:"neededRuns,omitempty"` // of each, so that a difference of every value can be significant; 0 if there are as many
}

// Between compares two columns. Keep chooses rows, nil for all: the fewer are tested, the smaller a
// difference can be that is significant.
func Between(from, to Column, keep func(Row) bool) Comparison {
	c := Comparison{From: from.Variant.Name, To: to.Variant.Name, Runs: [2]int{from.Runs, to.Runs}}
	var tested []int
	var p []float64
	for _, row := range keysOf([]Column{from, to}) {
		if keep != nil && !keep(row) {
			continue
		}
		d := Difference{Key: row.Key, Name: row.Name, Unit: row.Unit}
		d.old, d.hadA = from.Row(row.Key)
		d.new, d.hadB = to.Row(row.Key)
		d.From, d.To = d.old.Cell(), d.new.Cell()
		switch {
		case !d.hadB:
			d.Verdict = Gone
		case !d.hadA:
			d.Verdict = New
		case len(d.old.States) > 0:
			d.Verdict = stateVerdict(d.old.States, d.new.States)
		case len(d.old.Facts) > 0:
			d.Verdict = Different
			if d.From == d.To {
				d.Verdict = Equal
			}
		default:
			d.P = mannWhitney(d.old.Values, d.new.Values)
			d.Superiority = superiority(d.old.Values, d.new.Values)
			d.Change = change(median(d.old.Values), median(d.new.Values))
			d.Verdict = NoDifference
			tested, p = append(tested, len(c.Differences)), append(p, d.P)
		}
		c.Differences = append(c.Differences, d)
	}
	for i, adjusted := range holm(p) {
		d := &c.Differences[tested[i]]
		d.Adjusted = adjusted
		if adjusted < alpha {
			d.Verdict = valueVerdict(d.new.Better, d.Superiority)
		}
		if leastP(len(d.old.Values), len(d.new.Values))*float64(len(p)) >= alpha {
			d.TooFew, c.Needed = true, runsFor(len(p))
		}
	}
	return c
}

// Count is how many rows have a verdict.
func (c Comparison) Count(v Verdict) (n int) {
	for _, d := range c.Differences {
		if d.Verdict == v {
			n++
		}
	}
	return n
}

// change is a difference as a fraction of the old value; nil where that is 0 and the new one is not.
func change(old, new float64) *float64 {
	f := 0.0
	switch {
	case old == new:
	case old == 0:
		return nil
	default:
		f = (new - old) / math.Abs(old)
	}
	return &f
}

func valueVerdict(better Better, superiority float64) Verdict {
	rises := superiority > 0.5
	switch {
	case better == Neither:
		return Different
	case rises == (better == Higher):
		return BetterThan
	}
	return Worse
}

// stateVerdict compares what a kind of path was in several runs. It is worse if a run was worse than
// any before, or none is as good as one before.
func stateVerdict(old, new []State) Verdict {
	bounds := func(all []State) (least, most Grade) {
		least = GradePassed
		for _, s := range all {
			least, most = min(least, s.Grade), max(most, s.Grade)
		}
		return least, most
	}
	oldLeast, oldMost := bounds(old)
	newLeast, newMost := bounds(new)
	switch {
	case newLeast < oldLeast || newMost < oldMost:
		return Worse
	case newLeast > oldLeast || newMost > oldMost:
		return BetterThan
	}
	return Equal
}

// figure is the summary of a row's values.
func (r Row) figure() report.Figure { return report.FigureOf(r.Unit, r.Values) }
