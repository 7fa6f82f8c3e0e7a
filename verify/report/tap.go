package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
)

// tapDiagnostic is the YAML block below a test line. The keys are netlab's, except message
// and severity, which are those of the TAP 14 specification's examples.
type tapDiagnostic struct {
	Message    string     `json:"message,omitempty"`
	Severity   string     `json:"severity,omitempty"` // fail, or broken: the probe could not run
	From       End        `json:"from"`
	To         End        `json:"to"`
	Expected   string     `json:"expected"`
	Observed   Observed   `json:"observed"`
	Properties []Property `json:"properties,omitempty"`
	Evidence   *Evidence  `json:"evidence,omitempty"`
	Throughput *Figure    `json:"throughput,omitempty"`
	Latency    *Latency   `json:"latency,omitempty"`
	Command    string     `json:"command,omitempty"`
}

// WriteTAP writes the report as TAP 14 (testanything.org/tap-version-14-specification.html):
// one test per path, with a YAML block for each that did not pass or has details.
func (r Report) WriteTAP(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "TAP version 14\n1..%d\n", len(r.Paths))
	for i, p := range r.Paths {
		verdict := "ok"
		if p.Outcome == Fail || p.Outcome == Broken {
			verdict = "not ok"
		}
		fmt.Fprintf(&b, "%s %d - %s", verdict, i+1, tapText(p.ID+" "+way(p)+" over "+p.Protocol+" is "+p.Expected))
		if p.Outcome == Skip {
			b.WriteString(" # SKIP " + tapText(p.Reason))
		}
		b.WriteString("\n")
		if verdict == "ok" && p.Evidence == nil && p.Throughput == nil && p.Latency == nil {
			continue
		}
		block, err := tapYAML(p)
		if err != nil {
			return fmt.Errorf("write %s as TAP: %w", p.ID, err)
		}
		b.WriteString(block)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func tapYAML(p Result) (string, error) {
	d := tapDiagnostic{Message: p.Reason, From: p.From, To: p.To, Expected: p.Expected, Observed: p.Observed, Properties: p.Properties,
		Evidence: p.Evidence, Throughput: p.Throughput, Latency: p.Latency, Command: p.Command}
	if p.Outcome == Fail || p.Outcome == Broken {
		d.Severity = p.Outcome
	}
	data, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	text, err := yaml.JSONToYAML(data)
	if err != nil {
		return "", err
	}
	body := strings.ReplaceAll(strings.TrimRight(string(text), "\n"), "\n", "\n  ")
	return "  ---\n  " + body + "\n  ...\n", nil
}

// tapText keeps a text on one line, and its # from starting a directive.
func tapText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "#", `\#`).Replace(strings.Join(strings.Fields(s), " "))
}
