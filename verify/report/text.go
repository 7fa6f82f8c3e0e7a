package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Width is the maximum width of the table, in columns.
const Width = 100

// foldAbove is how many rows of one id are shown one by one; more are shown as one line if
// all of them passed.
const foldAbove = 6

// Layout is how a report groups its paths: the headings of the text and the page, and
// the tables of the matrix.
type Layout struct {
	Sections []Section
	Grids    []Section
}

// Section groups ids under a heading.
type Section struct {
	Title string
	IDs   []string
}

// WriteText writes the report for a terminal: a table, then each failed or broken path with
// all details. Colour is the caller's decision.
func (r Report) WriteText(w io.Writer, l Layout, colour bool) error {
	t := &text{colour: colour}
	t.title(r)
	t.head(r, l)
	for _, s := range l.Sections {
		t.section(r, s)
	}
	t.measurements(r)
	t.ways(r)
	t.failures(r)
	t.summary(r)
	_, err := io.WriteString(w, t.String())
	return err
}

// WriteJSON writes the report for other tools.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

type text struct {
	strings.Builder
	colour bool
}

func (t *text) title(r Report) {
	fmt.Fprintf(t, "%s: Kubernetes %s, %s %s, provider %s\n", r.Lab, r.Kubernetes, r.CNI.Name, r.CNI.Version, r.Provider)
	for _, notice := range r.Notices {
		for i, line := range wrap(notice, Width-4) {
			fmt.Fprintf(t, "%s%s\n", []string{"  ", "    "}[min(i, 1)], line)
		}
	}
}

func (t *text) summary(r Report) {
	s := r.Summary
	fmt.Fprintf(t, "\n%d paths: %d pass, %d fail, %d broken, %d skipped\n", len(r.Paths), s.Pass, s.Fail, s.Broken, s.Skip)
}

// head is the header of the paths' columns.
func (t *text) head(r Report, l Layout) {
	if !slices.ContainsFunc(r.Paths, func(p Result) bool {
		return slices.ContainsFunc(l.Sections, func(s Section) bool { return slices.Contains(s.IDs, p.ID) })
	}) {
		return // the tables of measurements have their own headers
	}
	t.WriteString("\n" + row("   ", "PATH", "FROM → TO", "OBSERVED", "RTT"))
}

func (t *text) bold(s string) string {
	if !t.colour {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

// mark is ✓ pass, ✗ fail, – skip, ! broken.
func (t *text) mark(outcome string) string {
	mark, code := "!", "33"
	switch outcome {
	case Pass:
		mark, code = "✓", "32"
	case Fail:
		mark, code = "✗", "31"
	case Skip:
		mark, code = "–", "2"
	}
	if !t.colour {
		return mark
	}
	return "\x1b[" + code + "m" + mark + "\x1b[0m"
}

func (t *text) section(r Report, s Section) {
	title := "\n" + t.bold(s.Title) + "\n"
	for _, id := range s.IDs {
		var rows []Result
		for _, p := range r.Paths {
			if p.ID == id {
				rows = append(rows, p)
			}
		}
		if len(rows) == 0 {
			continue
		}
		t.WriteString(title)
		title = ""
		if allPassed := !slices.ContainsFunc(rows, func(p Result) bool { return p.Outcome != Pass }); allPassed && len(rows) > foldAbove {
			t.line(Pass, id, fmt.Sprintf("%d connections", len(rows)), "all passed", highest(rows))
			continue
		}
		name := id
		for _, p := range rows {
			rtt := ""
			if p.Outcome == Pass && p.Observed.RTTMicros > 0 {
				rtt = millis(p.Observed.RTTMicros)
			}
			t.line(p.Outcome, name, way(p), brief(p), rtt)
			name = "" // only in the first row of a group
		}
	}
}

// line is one row: mark, id, from → to, evidence, round trip. Text that is too long for its
// column continues on the next line.
func (t *text) line(outcome, id, way, evidence, rtt string) {
	mark := " " + t.mark(outcome) + " "
	if utf8.RuneCountInString(way) > columnWay {
		t.WriteString(row(mark, id, way, "", ""))
		mark, id, way = "   ", "", ""
	}
	for _, part := range wrap(evidence, columnSeen) {
		t.WriteString(row(mark, id, way, part, rtt))
		mark, id, way, rtt = "   ", "", "", ""
	}
}

// The widths of the columns of the paths, after a mark of three.
const (
	columnID   = 27
	columnWay  = 32
	columnRTT  = 7
	columnSeen = Width - 3 - columnID - 1 - columnWay - 1 - 1 - columnRTT
)

// row formats a line of the paths in columns.
func row(mark, id, way, seen, rtt string) string {
	right := strings.Repeat(" ", max(0, columnRTT-utf8.RuneCountInString(rtt))) + rtt
	return strings.TrimRight(fmt.Sprintf("%s%s %s %s %s", mark, pad(id, columnID), pad(way, columnWay), pad(seen, columnSeen), right), " ") + "\n"
}

func way(p Result) string { return p.From.Name + " → " + p.To.Name }

// brief is the result of a row in a few words.
func brief(p Result) string {
	switch p.Outcome {
	case Broken:
		return "could not be judged, see below"
	case Fail:
		return "failed, see below"
	}
	return Brief(p)
}

// Brief is the result of a path that passed in a few words, and the reason of one that did
// not.
func Brief(p Result) string {
	if p.Outcome != Pass {
		return p.Reason
	}
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch p.Expected {
	case Unreachable:
		return "no reply, as expected"
	case NotEnforced:
		return "not enforced, as expected"
	case Enforced:
		return "enforced in " + p.secondsText(MeasuredEffect) + ", ended in " + p.secondsText(MeasuredEnd)
	}
	if status := p.Property(KeyStatus); status != "" {
		add("status %s", status)
	}
	if m, ok := p.Measured(MeasuredPayload); ok {
		add("%.0f %s", m.Value, m.Unit)
	}
	if records := p.Property(KeyRecords); records != "" {
		add("%s", strings.TrimSuffix(records, "."))
	}
	if p.Observed.SourceIP != "" {
		add("saw %s", strings.ReplaceAll(p.Observed.SourceIP, ",", " "))
	}
	if o := p.Property(KeyVIPOwner); o != "" {
		add("VIP at %s", o)
	}
	if p.Protocol != "dns" && p.Observed.Backend != "" && p.Observed.Backend != p.To.Name && p.To.Node != p.Observed.Node {
		n := strings.Count(p.Observed.Backend, ",") + 1
		if n > 1 {
			add("%d backends", n)
		} else {
			add("from %s", p.Observed.Backend)
		}
	}
	if p.Tries > 1 {
		add("try %d", p.Tries)
	}
	return strings.Join(words, ", ")
}

// secondsText formats a measured time, "?" for none.
func (p Result) secondsText(key string) string {
	m, ok := p.Measured(key)
	if !ok {
		return "?s"
	}
	return fmt.Sprintf("%.1f%s", m.Value, m.Unit)
}

// highest is the longest round trip of several rows.
func highest(rows []Result) string {
	var high int64
	for _, p := range rows {
		high = max(high, p.Observed.RTTMicros)
	}
	return "≤" + millis(high)
}

func millis(micros int64) string { return fmt.Sprintf("%.1fms", float64(micros)/1000) }

// failures writes all details of each failed or broken path. Paths of one id with the same
// reason and no other details are written once.
func (t *text) failures(r Report) {
	var bad []Result
	for _, p := range r.Paths {
		if p.Outcome == Fail || p.Outcome == Broken {
			bad = append(bad, p)
		}
	}
	written := make([]bool, len(bad))
	for i, p := range bad {
		if written[i] {
			continue
		}
		fmt.Fprintf(t, "\n%s %s %s over %s\n", t.mark(p.Outcome), p.ID, p.Outcome, p.Protocol)
		for j := i; j < len(bad); j++ {
			if q := bad[j]; j == i || q.ID == p.ID && q.Outcome == p.Outcome && q.Reason == p.Reason && len(q.Properties)+len(p.Properties) == 0 {
				written[j] = true
				t.field("path", endText(q.From)+" → "+endText(q.To))
			}
		}
		t.field("reason", p.Reason)
		t.field("expected", p.Expected)
		t.field("observed", observedText(p.Observed))
		for _, q := range p.Properties {
			mark := Pass
			if !q.OK {
				mark = Fail
			}
			t.field(t.mark(mark)+" "+q.Name, fmt.Sprintf("expected %s, observed %s", q.Expected, q.Observed))
		}
		t.figures(p)
		t.evidence(p.Evidence)
		if p.Command != "" {
			fmt.Fprintf(t, "    rerun: %s\n", p.Command) // whole, to be pasted
		}
	}
}

// observedText describes which agent answered, and the client's address that it saw.
func observedText(o Observed) string {
	if o == (Observed{}) {
		return "no valid answer"
	}
	out := "an answer"
	if o.Backend != "" {
		out += " from " + o.Backend
	}
	if o.Node != "" {
		out += " on " + o.Node
	}
	if o.SourceIP != "" {
		out += ", which saw " + o.SourceIP
	}
	return out
}

// figures writes what was measured.
func (t *text) figures(p Result) {
	if f := p.Throughput; f != nil {
		line := FigureText(*f)
		if f.Streams > 0 {
			line += fmt.Sprintf(", streams %d %s", f.Streams, f.Direction)
		}
		if f.Ratio > 0 {
			line += fmt.Sprintf(", %.0f %% of the baseline", 100*f.Ratio)
		}
		t.field("throughput", strings.Join(append([]string{line}, f.Notes()...), ", "))
	}
	if l := p.Latency; l != nil {
		t.field("latency", fmt.Sprintf("p50 %s, p90 %s, p99 %s, max %.0f µs, %s", FigureText(l.P50), FigureText(l.P90), FigureText(l.P99), l.Max, FigureText(l.PerSecond)))
	}
}

// Notes are remarks on a throughput in addition to its figures.
func (f Figure) Notes() []string {
	var out []string
	if f.Offered > 0 {
		out = append(out, "sent at "+RateText(f.Offered))
	}
	if f.CPUMissing != "" {
		out = append(out, "CPU time not known: "+f.CPUMissing)
	}
	return out
}

// evidence writes where the packets of a path were seen.
func (t *text) evidence(e *Evidence) {
	if e == nil {
		return
	}
	for _, line := range e.Lines(Width - 4) {
		t.WriteString("    " + line + "\n")
	}
}

// ways writes how the packets of passing paths went, where that was requested.
func (t *text) ways(r Report) {
	for _, p := range r.Paths {
		if p.Evidence != nil && p.Outcome != Fail && p.Outcome != Broken {
			fmt.Fprintf(t, "\n%s %s %s\n", t.mark(p.Outcome), p.ID, way(p))
			t.evidence(p.Evidence)
		}
	}
}

func (t *text) field(name, value string) {
	for i, part := range wrap(name+": "+value, Width-8) {
		indent := "    "
		if i > 0 {
			indent = "        "
		}
		fmt.Fprintf(t, "%s%s\n", indent, part)
	}
}

// endText is "name (node, ip)".
func endText(e End) string {
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

func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

// wrap breaks a text at spaces into lines of n columns; a word longer than that stays whole.
func wrap(s string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && columns(line)+1+columns(word) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// columns is the width of a text on a terminal: colour takes none.
func columns(s string) int {
	n := 0
	for {
		before, rest, found := strings.Cut(s, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !found {
			return n
		}
		_, s, _ = strings.Cut(rest, "m")
	}
}
