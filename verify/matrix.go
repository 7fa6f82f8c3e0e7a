package verify

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// grid is a matrix view: who is asked by whom, and what became of it.
type grid struct {
	title string
	ids   []string
}

func grids() []grid {
	return []grid{
		{"Pod → Pod", []string{PodToPodSameNode, PodToPodCrossNode}},
		{"Node → Pod", []string{NodeToPod}},
		{"Pod → Node", []string{PodToNode}},
		{"Pod → Service", []string{PodToClusterIP, PodToItself, PodToHeadless, PodToNodePort}},
		{"outside → Pod and Service", []string{OutsideToNodePort, OutsideToLoadBalancer, OutsideToClusterIP, OutsideToPod}},
	}
}

// policySteps are the columns of the policies' matrix: the properties that perform asserts.
func policySteps() []string {
	return []string{"before the policy", "denied under the policy", "allowed under the policy", "after the policy"}
}

// WriteMatrix writes the report as matrices, one a kind of path, then each path that is
// not as expected with all that is known of it, as the text has it.
func (r Report) WriteMatrix(w io.Writer, colour bool) error {
	t := &text{colour: colour}
	t.title(r)
	for _, g := range grids() {
		t.grid(r, g)
	}
	t.policyGrid(r)
	fmt.Fprintf(t, "\n%s as expected  %s failed  %s could not be judged  %s skipped  · not asked\n", t.mark(Pass), t.mark(Fail), t.mark(Broken), t.mark(Skip))
	t.failures(r)
	t.summary(r)
	_, err := io.WriteString(w, t.String())
	return err
}

// grid draws the paths of some ids as rows and columns of their ends.
func (t *text) grid(r Report, g grid) {
	var froms, tos []string
	cells := map[[2]string]string{}
	for _, p := range r.Paths {
		if !slices.Contains(g.ids, p.ID) || p.Outcome == Skip {
			continue
		}
		at := [2]string{p.From.Name, p.To.Name}
		froms, tos = append(froms, at[0]), append(tos, at[1])
		cells[at] = worse(cells[at], p.Outcome)
	}
	if len(cells) == 0 {
		return
	}
	froms, tos = unique(froms), unique(tos)
	t.matrix(g.title, froms, tos, func(row, column int) string {
		outcome, asked := cells[[2]string{froms[row], tos[column]}]
		if !asked {
			return "·"
		}
		return t.mark(outcome)
	})
}

// policyGrid shows each policy's steps: the control before it, what it denies, what it
// allows, the control after it.
func (t *text) policyGrid(r Report) {
	var rows []Result
	var names []string
	for _, p := range r.Paths {
		if strings.HasPrefix(p.ID, "policy-") {
			rows, names = append(rows, p), append(names, p.ID)
		}
	}
	if len(rows) == 0 {
		return
	}
	steps := policySteps()
	heads := []string{"before", "denied", "allowed", "after", "expected"}
	t.matrix("Policies", names, heads, func(row, column int) string {
		p := rows[row]
		if column == len(steps) {
			if p.Outcome == Skip {
				return t.mark(Skip)
			}
			return p.Expected
		}
		at := slices.IndexFunc(p.Properties, func(q Property) bool { return q.Name == steps[column] })
		switch {
		case p.Outcome == Skip:
			return t.mark(Skip)
		case at < 0:
			return t.mark(Broken)
		case !p.Properties[at].OK:
			return t.mark(Fail)
		}
		return t.mark(Pass)
	})
}

// matrix draws rows and columns with their names; columns that do not fit by name get
// numbers, which are told below.
func (t *text) matrix(title string, rows, names []string, cell func(row, column int) string) {
	first := utf8.RuneCountInString(title)
	for _, row := range rows {
		first = max(first, utf8.RuneCountInString(row))
	}
	heads, total := slices.Clone(names), first+1
	for _, c := range names {
		total += 2 + utf8.RuneCountInString(c)
	}
	numbered := total > width
	if numbered {
		for i := range heads {
			heads[i] = fmt.Sprint(i + 1)
		}
	}
	t.WriteString("\n" + t.bold(pad(title, first)))
	for _, h := range heads {
		t.WriteString("  " + h)
	}
	t.WriteString("\n")
	for i, row := range rows {
		line := pad(row, first)
		for j, h := range heads {
			c := cell(i, j)
			line += "  " + c + strings.Repeat(" ", max(0, utf8.RuneCountInString(h)-columns(c)))
		}
		t.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if numbered {
		legend := make([]string, len(names))
		for i, c := range names {
			legend[i] = heads[i] + ":" + c
		}
		for _, line := range wrap(strings.Join(legend, ", "), width-2) {
			t.WriteString("  " + line + "\n")
		}
	}
}

// worse is the outcome that a cell of several paths shows.
func worse(a, b string) string {
	order := []string{"", Skip, Pass, Broken, Fail}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// unique drops what came before, and keeps the order.
func unique(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
