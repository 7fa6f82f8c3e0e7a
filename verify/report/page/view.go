package page

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"netlab.dev/netlab/topology/drawing"
	"netlab.dev/netlab/verify/report"
)

// view is the template's data.
type view struct {
	Subject
	Style        template.CSS
	Script       template.JS
	Wide, Narrow template.HTML
	Size         drawing.Point // of the wide drawing, in pixels
	Verdict      string
	Good         bool
	Counts       []count
	Bad          []row
	Sections     []section
	Matrices     []matrix
	Throughput   throughput
	Latency      latency
	Ways         map[string]way // by path id
	Evidence     bool           // some path that passed has evidence
}

// count is how many paths have one outcome.
type count struct {
	Outcome, Label string
	N              int
}

// section is a group of paths that passed, or were skipped.
type section struct {
	Title  string
	Groups []group
	Bad    int // of its paths, shown above
}

type group struct {
	ID   string
	Rows []row
}

// row is one path.
type row struct {
	report.Result
	Index    int
	From, To string // with Node and address
	Brief    string
	RTT      string
	Last     string // the last hop that saw a packet that was lost
	Hops     []hop
	NoHops   string // why there are no hops
	Figures  []string
}

// hop is a report.Hop for the page.
type hop struct {
	report.Hop
	N      int
	Where  string
	Hidden bool // something between this hop and the previous one is not visible
	Before string
}

func newView(s Subject) (view, error) {
	seen := sceneOf(s.Report, s.Plan)
	f := pathfinder{plan: s.Plan, scene: seen, drawings: drawings(s.Plan, seen)}
	v := view{Subject: s, Style: template.CSS(drawing.Style + style), Script: template.JS(script), Ways: map[string]way{},
		Size: drawing.Point{X: f.drawings[0].Width, Y: f.drawings[0].Height}, Good: s.Report.ExitCode() == 0}
	var err error
	if v.Wide, err = inline(f.drawings[0]); err != nil {
		return v, err
	}
	if v.Narrow, err = inline(f.drawings[1]); err != nil {
		return v, err
	}
	v.Evidence = slices.ContainsFunc(s.Report.Paths, func(p report.Result) bool { return p.Outcome == report.Pass && p.Evidence != nil })
	v.count()
	rows := make([]row, len(s.Report.Paths))
	for i, p := range s.Report.Paths {
		p, by := lent(s.Report, p)
		w := f.of(p)
		v.Ways[pathID(i)] = w
		rows[i] = v.row(i, p, w)
		if by != "" {
			rows[i].NoHops = "These are the hops of " + by + " between the same source and destination, in the same run. " + uncaptured
		}
		if bad(p) {
			v.Bad = append(v.Bad, rows[i])
		}
	}
	v.sections(rows)
	v.matrices()
	v.Throughput = throughputOf(s.Report)
	v.Latency = latencyOf(s.Report)
	return v, nil
}

func bad(p report.Result) bool { return p.Outcome == report.Fail || p.Outcome == report.Broken }

func (v *view) count() {
	s := v.Report.Summary
	total, asked := len(v.Report.Paths), len(v.Report.Paths)-s.Skip
	v.Verdict = fmt.Sprintf("%d of %d paths as expected", s.Pass, asked)
	if s.Pass == asked {
		v.Verdict = fmt.Sprintf("All %d paths as expected", asked)
	}
	if total == 0 {
		v.Verdict = "No path was verified"
	}
	for _, c := range []count{{report.Pass, "as expected", s.Pass}, {report.Fail, "failed", s.Fail},
		{report.Broken, "could not be judged", s.Broken}, {report.Skip, "skipped", s.Skip}} {
		if c.N > 0 {
			v.Counts = append(v.Counts, c)
		}
	}
}

func (v *view) row(i int, p report.Result, w way) row {
	r := row{Result: p, Index: i, From: endText(p.From), To: endText(p.To), Brief: report.Brief(p)}
	if p.Outcome == report.Pass && p.Observed.RTTMicros > 0 {
		r.RTT = fmt.Sprintf("%.1f ms", float64(p.Observed.RTTMicros)/1000)
	}
	if r.Figures = figures(p); len(r.Figures) > 0 && p.Outcome == report.Pass {
		r.Brief = how(p) + ": " + strings.Join(label(p), " ")
	}
	if !w.Hops {
		r.NoHops = v.noHops(p, w)
		return r
	}
	for k, h := range p.Evidence.Hops {
		shown := hop{Hop: h, N: k + 1, Where: h.Machine, Hidden: w.Steps[k].Hidden}
		if h.Pod != "" {
			shown.Where = h.Pod
		}
		if s := w.Steps[k]; s.Hidden {
			shown.Before = whereOf(*s.from)
		}
		r.Hops = append(r.Hops, shown)
	}
	if p.Evidence.Lost != "" {
		last := p.Evidence.Hops[len(p.Evidence.Hops)-1]
		r.Last = whereOf(last) + " " + last.Direction
	}
	return r
}

func whereOf(h report.Hop) string {
	if h.Pod != "" {
		return h.Pod + " " + h.Interface
	}
	return h.Machine + " " + h.Interface
}

const uncaptured = "Measurements are not captured: capturing would change the result."

// noHops describes why a path has no hops, what is drawn instead, and how to get them.
func (v *view) noHops(p report.Result, w way) string {
	drawn := "Only its source and destination are drawn."
	switch _, named := (pathfinder{}).stops(p.To, report.Observed{}); {
	case measured(p) && p.From.Kind == report.AtNode && p.To.Kind == report.AtNode:
		drawn = "It is drawn along the network between them."
	case named:
	case len(w.Steps) == 0:
		drawn = "Only its client is drawn: " + p.To.Name + " is an address without a place in the drawing."
	default:
		drawn = "Only its client and the Pods that answered are drawn."
	}
	switch {
	case p.Outcome == report.Skip:
		return ""
	case measured(p):
		return uncaptured + " " + drawn
	case p.Expected == report.Enforced || p.Expected == report.NotEnforced:
		return "Policies are not captured: they are not in force during the capture. " + drawn
	case v.Evidence:
		return "No packet of this path was captured. " + drawn
	}
	return drawn + " This report was made without --evidence, which shows every hop."
}

// endText is an end with its Node and address.
func endText(e report.End) string {
	var in []string
	for _, s := range []string{e.Node, e.IP} {
		if s != "" && s != e.Name {
			in = append(in, s)
		}
	}
	if len(in) == 0 {
		return e.Name
	}
	return e.Name + " (" + strings.Join(in, ", ") + ")"
}

// sections groups the paths that passed or were skipped under the report's headings, with the
// measurements below.
func (v *view) sections(rows []row) {
	measurements := report.Section{Title: "Measurements"}
	for _, r := range rows {
		if r.Measures != "" && !slices.Contains(measurements.IDs, r.ID) {
			measurements.IDs = append(measurements.IDs, r.ID)
		}
	}
	for _, s := range append(slices.Clone(v.Layout.Sections), measurements) {
		out := section{Title: s.Title}
		for _, id := range s.IDs {
			g := group{ID: id}
			for _, r := range rows {
				switch {
				case r.ID != id:
				case bad(r.Result):
					out.Bad++
				default:
					g.Rows = append(g.Rows, r)
				}
			}
			if len(g.Rows) > 0 {
				out.Groups = append(out.Groups, g)
			}
		}
		if len(out.Groups) > 0 || out.Bad > 0 {
			v.Sections = append(v.Sections, out)
		}
	}
}

// matrix is a report.Matrix for the page.
type matrix struct {
	Title   string
	Columns []string
	Rows    []matrixRow
}

type matrixRow struct {
	Name  string
	Cells []cell
}

type cell struct {
	Outcome, Text, Says string
	Link                string // id of a path; "" for none
}

func (v *view) matrices() {
	for _, m := range v.Report.Matrices(v.Layout) {
		out := matrix{Title: m.Title, Columns: m.Columns}
		for i, name := range m.Rows {
			r := matrixRow{Name: name}
			for k, c := range m.Cells[i] {
				shown := cell{Outcome: c.Outcome, Text: c.Text, Says: name + " → " + m.Columns[k] + ": " + said(c.Outcome)}
				if len(c.Paths) > 0 {
					shown.Link = pathID(worst(v.Report, c))
				}
				r.Cells = append(r.Cells, shown)
			}
			out.Rows = append(out.Rows, r)
		}
		v.Matrices = append(v.Matrices, out)
	}
}

// worst is the first path of a cell that has the cell's outcome.
func worst(r report.Report, c report.Cell) int {
	for _, i := range c.Paths {
		if r.Paths[i].Outcome == c.Outcome {
			return i
		}
	}
	return c.Paths[0]
}

func said(outcome string) string {
	switch outcome {
	case report.Pass:
		return "as expected"
	case report.Fail:
		return "failed"
	case report.Broken:
		return "could not be judged"
	case report.Skip:
		return "skipped"
	}
	return "not probed"
}

// Bad reports that a path failed or is broken.
func (r row) Bad() bool { return bad(r.Result) }

// Time is when a hop was seen, since the first: in µs, or in ms from 1 ms on.
func (h hop) Time() string {
	if h.Micros < 10000 {
		return fmt.Sprintf("%d µs", h.Micros)
	}
	return fmt.Sprintf("%.1f ms", float64(h.Micros)/1000)
}

// Mark is the symbol of an outcome, as in the text report.
func (r row) Mark() string { return mark(r.Outcome) }

// Said describes the outcome.
func (r row) Said() string { return said(r.Outcome) }

// Mark is the symbol of a cell.
func (c cell) Mark() string {
	if c.Text != "" && c.Outcome == "" {
		return c.Text
	}
	return mark(c.Outcome)
}

func mark(outcome string) string {
	switch outcome {
	case report.Pass:
		return "✓"
	case report.Fail:
		return "✗"
	case report.Broken:
		return "!"
	case report.Skip:
		return "–"
	}
	return "·"
}
