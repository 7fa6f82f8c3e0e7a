package compare

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
)

// Condition is a part of a gate: rows that must not get worse, or not by more than a limit.
type Condition struct {
	Text  string  `json:"condition"`
	Row   string  `json:"-"` // the key of a row, or the beginning of several
	Limit float64 `json:"-"` // of the change, as a fraction: negative for a fall; 0 for any change that is significant
	at    int     // its column in the expression, from 1 on
}

// selects reports whether a row is one of the condition's.
func (c Condition) selects(key string) bool { return key == c.Row || strings.HasPrefix(key, c.Row+".") }

var condition = regexp.MustCompile(`^([a-z0-9][\w.-]*?)(?:([<>])([+-])(\d+(?:\.\d+)?)%)?$`)

// ParseConditions reads conditions that are separated by commas: ROWS, ROWS<-N% or ROWS>+N%. The error
// says at which column what is wrong.
func ParseConditions(expression string) (all []Condition, err error) {
	column := 1
	for part := range strings.SplitSeq(expression, ",") {
		text := strings.TrimSpace(part)
		at := column + strings.Index(part, text)
		column += len(part) + 1
		wrong := func(todo, format string, args ...any) error {
			return hint.With(fmt.Errorf("column %d: %s", at, fmt.Sprintf(format, args...)), todo)
		}
		m := condition.FindStringSubmatch(text)
		if text == "" {
			return nil, wrong("", "a condition is missing")
		}
		if m == nil {
			return nil, wrong("for example paths, throughput<-10% or latency.p99>+20%", "%q is not a condition: ROWS, ROWS<-N%% or ROWS>+N%% expected", text)
		}
		group, _, _ := strings.Cut(m[1], ".")
		if !slices.Contains(Groups(), group) {
			return nil, wrong(labs.DidYouMean(group, Groups()), "no rows are called %q", group)
		}
		c := Condition{Text: text, Row: m[1], at: at}
		if m[2] != "" {
			if (m[2] == "<") != (m[3] == "-") {
				return nil, wrong("a fall is <-N%, a rise is >+N%", "%q is always true or never", text)
			}
			if group == GroupPaths || group == GroupFacts {
				return nil, wrong("use "+m[1], "%s have no values", group)
			}
			limit, err := strconv.ParseFloat(m[3]+m[4], 64)
			if err != nil || limit == 0 {
				return nil, wrong("use "+m[1]+" for any significant change", "a limit of 0 %% is none")
			}
			c.Limit = limit / 100
		}
		all = append(all, c)
	}
	return all, nil
}

// Judged is a condition with the rows that do not meet it.
type Judged struct {
	Condition
	Rows  int          `json:"rows"` // that it selects
	Worse []Difference `json:"worse"`
}

// Judge judges new columns by old ones. Only rows that a condition selects are tested. A condition that
// no result could violate is an error, unless another one is violated: it selects no row, or too few
// runs were made.
func Judge(conditions []Condition, pairs [][2]Column) (all []Judged, comparisons []Comparison, err error) {
	keep := func(r Row) bool {
		return slices.ContainsFunc(conditions, func(c Condition) bool { return c.selects(r.Key) })
	}
	for _, c := range conditions {
		all = append(all, Judged{Condition: c, Worse: []Difference{}})
	}
	var idle error
	for _, pair := range pairs {
		compared := Between(pair[0], pair[1], keep)
		comparisons = append(comparisons, compared)
		for i := range all {
			if err := all[i].judge(compared); err != nil && idle == nil {
				idle = err
			}
		}
	}
	for _, j := range all {
		if j.Rows == 0 && idle == nil {
			idle = hint.With(fmt.Errorf("column %d: neither result has a row %s", j.at, j.Row), "-o json lists the keys of all rows; --throughput and --latency measure")
		}
	}
	if idle != nil && !Failed(all) {
		return nil, nil, idle
	}
	return all, comparisons, nil
}

// judge adds the rows of a comparison. The error says why the condition cannot be violated.
func (j *Judged) judge(c Comparison) (idle error) {
	for _, d := range c.Differences {
		if !j.selects(d.Key) || d.Verdict == New {
			continue
		}
		j.Rows++
		row := d.new
		if !d.hadB {
			row = d.old
		}
		switch {
		case idle != nil:
		case d.IsValue() && row.Better != Neither && j.Limit != 0 && (j.Limit > 0) != (row.Better == Lower):
			idle = hint.With(fmt.Errorf("column %d: %s is better when %s", j.at, d.Key, map[Better]string{Higher: "higher", Lower: "lower"}[row.Better]),
				fmt.Sprintf("use %s%s%g%%", j.Row, map[Better]string{Higher: "<-", Lower: ">+"}[row.Better], math.Abs(100*j.Limit)))
		case d.TooFew:
			idle = hint.With(fmt.Errorf("column %d: %s cannot fail: no difference is significant with %d runs against %d", j.at, j.Text, len(d.old.Values), len(d.new.Values)),
				fmt.Sprintf("make %d runs of each at least (--repeat %d), or name fewer rows", c.Needed, c.Needed))
		}
		if j.violates(d, row) {
			j.Worse = append(j.Worse, d)
		}
	}
	return idle
}

// violates reports whether a row got worse, beyond noise and by more than the limit.
func (j Judged) violates(d Difference, row Row) bool {
	switch d.Verdict {
	case Gone:
		return !row.Part
	case Worse, Different:
		return j.Limit == 0 || d.Change == nil || *d.Change/j.Limit > 1
	}
	return false
}

// Failed reports whether a condition is not met.
func Failed(all []Judged) bool {
	return slices.ContainsFunc(all, func(j Judged) bool { return len(j.Worse) > 0 })
}

// Pairs are the columns of new results with those of old ones: of the same name, or the only ones.
// Lone are the names of new columns without one.
func Pairs(old, new []Column) (pairs [][2]Column, lone []string) {
	if len(old) == 1 && len(new) == 1 {
		return [][2]Column{{old[0], new[0]}}, nil
	}
	for _, n := range new {
		i := slices.IndexFunc(old, func(o Column) bool { return o.Variant.Name == n.Variant.Name })
		if i < 0 {
			lone = append(lone, n.Variant.Name)
			continue
		}
		pairs = append(pairs, [2]Column{old[i], n})
	}
	return pairs, lone
}
