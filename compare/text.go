package compare

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Outcome is everything that is shown of a comparison.
type Outcome struct {
	Columns     []Column
	Comparisons []Comparison // each variant against the first, or new results against the baseline
	Judged      []Judged     // the conditions of a gate; none without one
	Baseline    string       // the file of the baseline; "" for none
	Notes       []string
}

// OutcomeOf compares the variants of results with the first of them.
func OutcomeOf(r Results) Outcome {
	o := Outcome{Columns: r.Columns()}
	for _, c := range o.Columns[1:] {
		if o.Columns[0].Runs > 1 || c.Runs > 1 {
			o.Comparisons = append(o.Comparisons, Between(o.Columns[0], c, nil))
		}
	}
	return o
}

// Against compares results with earlier ones, and judges them by conditions, if there are any.
func Against(r, baseline Results, file string, conditions []Condition) (Outcome, error) {
	o := Outcome{Columns: r.Columns(), Baseline: file}
	pairs, lone := Pairs(baseline.Columns(), o.Columns)
	if len(pairs) == 0 {
		return o, fmt.Errorf("%s has no variant of these: %s", file, strings.Join(lone, "; "))
	}
	for _, name := range lone {
		o.Notes = append(o.Notes, fmt.Sprintf("%s has no variant %s", file, name))
	}
	if r.Machine != baseline.Machine {
		o.Notes = append(o.Notes, fmt.Sprintf("the baseline is of another machine (%s; this one is %s): only paths and ratios can be compared", baseline.Machine, r.Machine))
	}
	if len(conditions) == 0 {
		for _, p := range pairs {
			o.Comparisons = append(o.Comparisons, Between(p[0], p[1], nil))
		}
		return o, nil
	}
	var err error
	o.Judged, o.Comparisons, err = Judge(conditions, pairs)
	return o, err
}

// abreast is how many variants one table shows: more would not fit 100 columns.
const abreast = 5

// WriteText writes a table with a column for each variant, and what differs.
func (o Outcome) WriteText(out io.Writer) error {
	w := &strings.Builder{}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, c := range o.Columns {
		fmt.Fprintf(t, "%d\t%s\t%s\tkube-proxy %s\t%s\n", i+1, c.Variant.Name, c.cni(), c.Variant.Proxy, counted(c.Runs, "run"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for from := 0; from < len(o.Columns); from += abreast {
		o.table(w, from, o.Columns[from:min(from+abreast, len(o.Columns))])
	}
	for i, c := range o.Columns {
		for _, e := range c.Errors {
			fmt.Fprintf(w, "\n✗ %d %s: %s\n", i+1, c.Variant.Name, e)
		}
	}
	fmt.Fprintf(w, "\n✓ as expected  ✗ failed  ! could not be probed  – not applicable\n"+
		"open: policies are not enforced, as expected of this CNI\n")
	for _, c := range o.Columns {
		if c.Runs > 1 {
			fmt.Fprintf(w, "±: the 95 %% interval of the median; in brackets the range of fewer than six runs\n")
			break
		}
	}
	for _, c := range o.Comparisons {
		o.comparison(w, c)
	}
	for _, n := range o.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
	if len(o.Judged) > 0 {
		fmt.Fprintln(w)
	}
	for _, j := range o.Judged {
		fmt.Fprintln(w, j.sentence())
		for _, d := range j.Worse {
			fmt.Fprintf(w, "  %s\n", d.Name)
		}
	}
	_, err := io.WriteString(out, w.String())
	return err
}

// cni names the column's CNI, its version and its options.
func (c Column) cni() string {
	words := []string{c.Variant.CNI.Name, c.Version}
	var options []string
	for _, key := range slices.Sorted(maps.Keys(c.Variant.CNI.Options)) {
		options = append(options, key+" "+c.Variant.CNI.Options[key])
	}
	return strings.TrimSpace(strings.Join(append(words, strings.Join(options, ", ")), " "))
}

func (o Outcome) table(w io.Writer, from int, some []Column) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	}
	fmt.Fprintln(t)
	head := []string{""}
	for i := range some {
		head = append(head, strconv.Itoa(from+i+1))
	}
	line(head)
	group := ""
	for _, row := range keysOf(o.Columns) {
		if g := row.Group(); g != group {
			if group != "" && (group == GroupPaths || g == GroupThroughput || g == GroupLatency) {
				line(make([]string, 0))
			}
			group = g
		}
		cells := []string{row.Name}
		for _, c := range some {
			own, _ := c.Row(row.Key)
			cells = append(cells, own.Cell())
		}
		line(cells)
	}
	t.Flush()
}

// comparison writes what differs, and how much does not.
func (o Outcome) comparison(w io.Writer, c Comparison) {
	fmt.Fprintf(w, "\n%s against %s%s:\n", c.To, c.From, of(o.Baseline))
	for _, d := range c.Differences {
		if d.Verdict != NoDifference && d.Verdict != Equal {
			fmt.Fprintf(w, "  %s\n", d.sentence())
		}
	}
	var rest []string
	if n := c.Count(NoDifference); n > 0 {
		rest = append(rest, fmt.Sprintf("%s in %s of values", NoDifference, counted(n, "row")))
	}
	if n := c.Count(Equal); n > 0 {
		rest = append(rest, counted(n, "row")+" of paths equal")
	}
	if len(rest) > 0 {
		fmt.Fprintf(w, "  %s\n", strings.Join(rest, ", "))
	}
	if c.Needed > 0 {
		fmt.Fprintf(w, "  with %d runs against %d no difference in so many rows is significant: --repeat %d\n", c.Runs[0], c.Runs[1], c.Needed)
	}
}

func of(baseline string) string {
	if baseline == "" {
		return ""
	}
	return " of " + baseline
}

// sentence is a difference on one line.
func (d Difference) sentence() string {
	text := fmt.Sprintf("%s: %s → %s, %s", d.Name, d.From, d.To, d.Verdict)
	if d.IsValue() && d.hadA && d.hadB {
		text += " (" + d.evidence() + ")"
	}
	return text
}

// sentence says whether the condition is met.
func (j Judged) sentence() string {
	if len(j.Worse) > 0 {
		return fmt.Sprintf("✗ %s: %d of %s got worse", j.Text, len(j.Worse), counted(j.Rows, "row"))
	}
	return fmt.Sprintf("✓ %s: none of %s got worse", j.Text, counted(j.Rows, "row"))
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
