package report

import (
	"fmt"
	"strings"
)

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
