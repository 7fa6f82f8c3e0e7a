package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"netlab.dev/netlab/verify/agent"
)

// Traced is one probe and how its packets went. Its JSON is what `netlab trace` prints.
type Traced struct {
	Lab      string    `json:"lab"`
	From     End       `json:"from"`
	To       string    `json:"to"`
	Target   string    `json:"target"`   // URL or address that was probed
	Outcome  string    `json:"outcome"`  // reply, refused, timeout, unreachable, broken
	Answered string    `json:"answered"` // what answered, or why nothing did
	Micros   int64     `json:"micros"`   // until the answer
	Evidence *Evidence `json:"evidence,omitempty"`
	Command  string    `json:"command"`
}

// WriteText writes a trace for a terminal of 100 columns.
func (t Traced) WriteText(out io.Writer) error {
	answer := "no answer: " + t.Answered
	if t.Outcome == agent.Reply {
		answer = fmt.Sprintf("answered by %s in %s", t.Answered, (time.Duration(t.Micros) * time.Microsecond).Round(10*time.Microsecond))
	}
	if _, err := fmt.Fprintf(out, "%s: %s → %s (%s)\n%s\n\n", t.Lab, t.From.Name, t.To, t.Target, answer); err != nil {
		return err
	}
	if t.Evidence == nil {
		_, err := fmt.Fprintln(out, "no packet was captured")
		return err
	}
	for _, line := range t.Evidence.Lines(Width) {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes a trace for other tools.
func (t Traced) WriteJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(t)
}
