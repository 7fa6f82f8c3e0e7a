package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Matrix is a view of several paths: sources are rows, destinations columns.
type Matrix struct {
	Title   string
	Rows    []string
	Columns []string
	Cells   [][]Cell // by row and column
}

// Cell is the worst of the paths that meet in it.
type Cell struct {
	Outcome string // "" where nothing was probed, or where Text says it all
	Text    string
	Paths   []int // of the Report
}

// Matrices returns the report as matrices, one per kind of path, that of the policies last.
func (r Report) Matrices(l Layout) []Matrix {
	var out []Matrix
	for _, g := range l.Grids {
		if m := r.matrix(g); len(m.Rows) > 0 {
			out = append(out, m)
		}
	}
	if m := r.policyMatrix(); len(m.Rows) > 0 {
		out = append(out, m)
	}
	return out
}

// WriteMatrix writes the report as matrices, then each failed or broken path with all
// details, as in the text.
func (r Report) WriteMatrix(w io.Writer, l Layout, colour bool) error {
	t := &text{colour: colour}
	t.title(r)
	for _, m := range r.Matrices(l) {
		t.matrix(m)
	}
	fmt.Fprintf(t, "\n%s as expected  %s failed  %s could not be judged  %s skipped  · not probed\n", t.mark(Pass), t.mark(Fail), t.mark(Broken), t.mark(Skip))
	t.failures(r)
	t.summary(r)
	_, err := io.WriteString(w, t.String())
	return err
}

// matrix has the ends of the paths of some ids as rows and columns.
func (r Report) matrix(g Section) Matrix {
	m := Matrix{Title: g.Title}
	cells := map[[2]string]Cell{}
	for i, p := range r.Paths {
		if !slices.Contains(g.IDs, p.ID) || p.Outcome == Skip {
			continue
		}
		at := [2]string{p.From.Name, p.To.Name}
		m.Rows, m.Columns = append(m.Rows, at[0]), append(m.Columns, at[1])
		cells[at] = Cell{Outcome: worse(cells[at].Outcome, p.Outcome), Paths: append(cells[at].Paths, i)}
	}
	m.Rows, m.Columns = unique(m.Rows), unique(m.Columns)
	for _, row := range m.Rows {
		var line []Cell
		for _, column := range m.Columns {
			line = append(line, cells[[2]string{row, column}])
		}
		m.Cells = append(m.Cells, line)
	}
	return m
}

// policyMatrix shows each policy's steps: the control before it, what it denies, what it
// allows, the control after it.
func (r Report) policyMatrix() Matrix {
	m := Matrix{Title: "Policies"}
	for _, s := range Steps() {
		m.Columns = append(m.Columns, string(s))
	}
	m.Columns = append(m.Columns, "expected")
	for i, p := range r.Paths {
		if p.Expected != Enforced && p.Expected != NotEnforced {
			continue
		}
		var line []Cell
		for _, s := range Steps() {
			line = append(line, Cell{Outcome: p.stepOutcome(s), Paths: []int{i}})
		}
		last := Cell{Text: p.Expected, Paths: []int{i}}
		if p.Outcome == Skip {
			last = Cell{Outcome: Skip, Paths: []int{i}}
		}
		m.Rows, m.Cells = append(m.Rows, p.ID), append(m.Cells, append(line, last))
	}
	return m
}

// stepOutcome is the outcome of one step of a policy, which may have several probes. A step
// that was not reached is broken, and so is a control that failed before the policy.
func (p Result) stepOutcome(s Step) string {
	if p.Outcome == Skip {
		return Skip
	}
	outcome := ""
	for _, q := range p.Properties {
		switch {
		case q.Step != s:
		case q.OK:
			outcome = worse(outcome, Pass)
		default:
			outcome = worse(outcome, p.Outcome)
		}
	}
	return cmp.Or(outcome, Broken)
}

// matrix draws a Matrix; columns that do not fit by name get numbers, with a legend below.
func (t *text) matrix(m Matrix) {
	first := utf8.RuneCountInString(m.Title)
	for _, row := range m.Rows {
		first = max(first, utf8.RuneCountInString(row))
	}
	heads, total := slices.Clone(m.Columns), first+1
	for _, c := range m.Columns {
		total += 2 + utf8.RuneCountInString(c)
	}
	numbered := total > Width
	if numbered {
		for i := range heads {
			heads[i] = fmt.Sprint(i + 1)
		}
	}
	t.WriteString("\n" + t.bold(pad(m.Title, first)))
	for _, h := range heads {
		t.WriteString("  " + h)
	}
	t.WriteString("\n")
	for i, row := range m.Rows {
		line := pad(row, first)
		for j, h := range heads {
			c := t.cell(m.Cells[i][j])
			line += "  " + c + strings.Repeat(" ", max(0, utf8.RuneCountInString(h)-columns(c)))
		}
		t.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if numbered {
		legend := make([]string, len(m.Columns))
		for i, c := range m.Columns {
			legend[i] = heads[i] + ":" + c
		}
		for _, line := range wrap(strings.Join(legend, ", "), Width-2) {
			t.WriteString("  " + line + "\n")
		}
	}
}

func (t *text) cell(c Cell) string {
	switch {
	case c.Outcome != "":
		return t.mark(c.Outcome)
	case c.Text != "":
		return c.Text
	}
	return "·"
}

// worse is the outcome that a cell of several paths shows.
func worse(a, b string) string {
	order := []string{"", Skip, Pass, Broken, Fail}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// unique removes duplicates, and keeps the order.
func unique(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
