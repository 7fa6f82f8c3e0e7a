package compare

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/perf/benchfmt"

	"netlab.dev/netlab/verify/report"
)

// WriteMarkdown writes a summary for a pull request: the conditions, what differs, and the whole table
// folded.
func (o Outcome) WriteMarkdown(out io.Writer) error {
	w := &strings.Builder{}
	fmt.Fprintf(w, "### netlab compare%s\n", map[bool]string{true: ": worse than " + o.Baseline}[Failed(o.Judged)])
	if len(o.Judged) > 0 {
		fmt.Fprint(w, "\n| condition | rows | worse |\n|---|---|---|\n")
		for _, j := range o.Judged {
			fmt.Fprintf(w, "| %s `%s` | %d | %d |\n", map[bool]string{true: "❌", false: "✅"}[len(j.Worse) > 0], j.Text, j.Rows, len(j.Worse))
		}
	}
	for _, c := range o.Comparisons {
		fmt.Fprintf(w, "\n**%s** against %s%s: %s in %s of values, %s of paths equal.\n", cell(c.To), cell(c.From), of(o.Baseline),
			NoDifference, counted(c.Count(NoDifference), "row"), counted(c.Count(Equal), "row"))
		if c.Needed > 0 {
			fmt.Fprintf(w, "With %d runs against %d no difference in so many rows is significant: `--repeat %d`.\n", c.Runs[0], c.Runs[1], c.Needed)
		}
		head := "\n| | before | now | change | p | A | verdict |\n|---|---|---|---|---|---|---|\n"
		for _, d := range c.Differences {
			if d.Verdict == NoDifference || d.Verdict == Equal {
				continue
			}
			numbers := " | | "
			if d.IsValue() && d.hadA && d.hadB {
				numbers = fmt.Sprintf("%s | %.2g | %.2f", percent(d.Change), d.Adjusted, d.Superiority)
			}
			fmt.Fprintf(w, "%s| %s | %s | %s | %s | %s |\n", head, cell(d.Name), cell(d.From), cell(d.To), numbers, d.Verdict)
			head = ""
		}
	}
	for _, n := range o.Notes {
		fmt.Fprintf(w, "\n> %s\n", n)
	}
	fmt.Fprint(w, "\n<details><summary>All rows</summary>\n\n|")
	for _, c := range o.Columns {
		fmt.Fprintf(w, " | %s, %s", cell(c.Variant.Name), counted(c.Runs, "run"))
	}
	fmt.Fprintf(w, " |\n|---|%s\n", strings.Repeat("---|", len(o.Columns)))
	for _, row := range keysOf(o.Columns) {
		fmt.Fprintf(w, "| %s", cell(row.Name))
		for _, c := range o.Columns {
			own, _ := c.Row(row.Key)
			fmt.Fprintf(w, " | %s", cell(own.Cell()))
		}
		fmt.Fprint(w, " |\n")
	}
	fmt.Fprint(w, "\n</details>\n")
	_, err := io.WriteString(out, w.String())
	return err
}

// cell is text that does not end a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// WriteJUnit writes a case for each row of each comparison: a failure where it violates a condition.
// Without comparisons the rows of paths are the cases, and one fails where a path does.
func (o Outcome) WriteJUnit(out io.Writer) error {
	suite := report.JUnitSuite{Name: "netlab compare", Time: "0.000"}
	add := func(class, name, text, failure string) {
		c := report.JUnitCase{Class: class, Name: name, Time: "0.000", Out: text}
		if failure != "" {
			suite.Failures++
			c.Failure = &report.JUnitCause{Message: failure}
		}
		suite.Tests++
		suite.Cases = append(suite.Cases, c)
	}
	for _, c := range o.Comparisons {
		for _, d := range c.Differences {
			failure := ""
			for _, j := range o.Judged {
				for _, x := range j.Worse {
					if x.Key == d.Key && x.From == d.From && x.To == d.To {
						failure = j.Text + ": " + d.sentence()
					}
				}
			}
			add(c.To, d.Key, d.sentence(), failure)
		}
	}
	if len(o.Comparisons) > 0 {
		return suite.Write(out)
	}
	for _, c := range o.Columns {
		for _, r := range c.Rows {
			failure := ""
			for _, s := range r.States {
				if s.Grade <= GradeBroken {
					failure = r.Name + ": " + r.Cell()
				}
			}
			add(c.Variant.Name, r.Key, r.Cell(), failure)
		}
	}
	return suite.Write(out)
}

// WriteBenchfmt writes the values of each run in the Go benchmark format, for
// `benchstat -col /variant`.
func (o Outcome) WriteBenchfmt(out io.Writer) error {
	directions := map[string]string{}
	for _, row := range keysOf(o.Columns) {
		if unit := benchUnit(row); len(row.Values) > 0 && directions[unit] == "" && row.Better != Neither {
			directions[unit] = map[Better]string{Higher: "higher", Lower: "lower"}[row.Better]
			if _, err := fmt.Fprintf(out, "Unit %s better=%s\n", unit, directions[unit]); err != nil {
				return err
			}
		}
	}
	w := benchfmt.NewWriter(out)
	for _, row := range keysOf(o.Columns) {
		for _, c := range o.Columns {
			own, _ := c.Row(row.Key)
			for _, v := range own.Values {
				name := fmt.Sprintf("Compare/row=%s/variant=%s", row.Key, strings.ReplaceAll(c.Variant.Name, " ", ","))
				err := w.Write(&benchfmt.Result{Name: benchfmt.Name(name), Iters: 1, Values: []benchfmt.Value{{Value: v, Unit: benchUnit(row)}}})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// benchUnit is a unit that benchstat takes: one word; what is better when higher and what when lower
// differ.
func benchUnit(r Row) string {
	switch r.Unit {
	case report.UnitSeconds:
		return "sec"
	case report.UnitMicros:
		return "us"
	case UnitRatio:
		return map[Better]string{Higher: "of-bare", Lower: "times-bare"}[r.Better]
	case report.UnitBytes:
		return map[Better]string{Higher: "payload-B", Lower: "B"}[r.Better]
	}
	return r.Unit
}
