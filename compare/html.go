package compare

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var markup string

// WriteHTML writes a self-contained page: verdicts, and for each row the values of each variant as points
// on one scale.
func (o Outcome) WriteHTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{"evidence": Difference.evidence, "sentence": Difference.sentence, "condition": Judged.sentence,
		"plot":     func(d Difference) template.HTML { return plot(d.new, [][]float64{d.old.Values, d.new.Values}) },
		"differs":  func(d Difference) bool { return d.Verdict != NoDifference && d.Verdict != Equal },
		"isWorse":  func(d Difference) bool { return d.Verdict == Worse || d.Verdict == Gone },
		"failed":   func(j Judged) bool { return len(j.Worse) > 0 },
		"cni":      Column.cni,
		"counted":  counted,
		"baseline": of,
	}).Parse(markup)
	if err != nil {
		return fmt.Errorf("the page's template: %w", err)
	}
	type shownRow struct {
		Row
		Cells []string
		Plot  template.HTML
	}
	var rows []shownRow
	for _, row := range keysOf(o.Columns) {
		shown := shownRow{Row: row}
		var values [][]float64
		for _, c := range o.Columns {
			own, _ := c.Row(row.Key)
			shown.Cells = append(shown.Cells, own.Cell())
			values = append(values, own.Values)
		}
		shown.Plot = plot(row, values)
		rows = append(rows, shown)
	}
	return t.Execute(w, struct {
		Outcome
		Rows []shownRow
	}{o, rows})
}

// The size of a plot, in pixels: each variant is a line of points.
const (
	plotWidth = 240
	plotLine  = 12
)

// plot draws the values of each variant as points, and their median as a line, on a common scale that
// begins at 0 or, where all values are within a half, below the lowest.
func plot(row Row, values [][]float64) template.HTML {
	var all []float64
	for _, v := range values {
		all = append(all, v...)
	}
	if len(all) < 2 {
		return ""
	}
	low, high := all[0], all[0]
	for _, v := range all {
		low, high = min(low, v), max(high, v)
	}
	if low > high/2 {
		low -= (high - low) / 4
	} else {
		low = min(low, 0)
	}
	if high == low {
		high = low + 1
	}
	x := func(v float64) float64 { return 4 + (v-low)/(high-low)*(plotWidth-8) }
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg width="%d" height="%d" role="img" aria-label="%s">`, plotWidth, plotLine*len(values), template.HTMLEscapeString(row.Name))
	for i, of := range values {
		y := plotLine*i + plotLine/2
		fmt.Fprintf(&svg, `<line x1="0" x2="%d" y1="%d" y2="%d" class="axis"/>`, plotWidth, y, y)
		for _, v := range of {
			fmt.Fprintf(&svg, `<circle cx="%.1f" cy="%d" r="2.5"><title>%s</title></circle>`, x(v), y, template.HTMLEscapeString(row.Quantity(v)))
		}
		if len(of) > 1 {
			m := x(median(of))
			fmt.Fprintf(&svg, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" class="median"/>`, m, m, y-5, y+5)
		}
	}
	svg.WriteString("</svg>")
	return template.HTML(svg.String())
}
