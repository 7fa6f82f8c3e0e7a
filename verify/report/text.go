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
	if m, ok := p.Measured(MeasuredOutage); ok {
		add("%.0f ms without an answer", m.Value)
	}
	if m, ok := p.Measured(MeasuredDisturbed); ok {
		add("%.0f ms disturbed", m.Value)
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
	if hops := p.Property(KeyNextHops); hops != "" {
		add("VIP via %s", hops)
	}
	if session := p.Property(KeySession); session != "" {
		add("%s", session)
	}
	if prefixes := p.Property(KeyPrefixes); prefixes != "" {
		n := len(strings.Fields(strings.TrimPrefix(prefixes, "none")))
		add("%d prefix%s", n, map[bool]string{true: "", false: "es"}[n == 1])
	}
	if bfd := p.Property(KeyBFD); bfd != "" {
		add("BFD %s", bfd)
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

// highest is the longest round trip of several rows; "" of rows without one.
func highest(rows []Result) string {
	var high int64
	for _, p := range rows {
		high = max(high, p.Observed.RTTMicros)
	}
	if high == 0 {
		return ""
	}
	return "≤" + millis(high)
}

func millis(micros int64) string { return fmt.Sprintf("%.1fms", float64(micros)/1000) }

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
