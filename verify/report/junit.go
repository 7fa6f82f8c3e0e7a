package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// JunitSuites is the JUnit form that CI systems read: one suite per lab, one case per path. A broken
// path is an error, a failed one a failure.
type JunitSuites struct {
	XMLName xml.Name   `xml:"testsuites"`
	Suite   JUnitSuite `xml:"testsuite"`
}

// JUnitSuite is the cases of one lab, or of one comparison.
type JUnitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []JUnitCase `xml:"testcase"`
}

// JUnitCase is one path, or one row of a comparison.
type JUnitCase struct {
	Class   string      `xml:"classname,attr"`
	Name    string      `xml:"name,attr"`
	Time    string      `xml:"time,attr"`
	Failure *JUnitCause `xml:"failure,omitempty"`
	Error   *JUnitCause `xml:"error,omitempty"`
	Skipped *JUnitCause `xml:"skipped,omitempty"`
	Out     string      `xml:"system-out,omitempty"` // how to rerun it, and details
}

// JUnitCause is why a case failed, could not run, or was skipped.
type JUnitCause struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML.
func (r Report) WriteJUnit(w io.Writer) error {
	suite := JUnitSuite{Name: "netlab " + r.Lab, Tests: len(r.Paths), Failures: r.Summary.Fail, Errors: r.Summary.Broken, Skipped: r.Summary.Skip}
	var total int64
	for _, p := range r.Paths {
		total += p.DurationMillis
		c := JUnitCase{Class: p.ID, Name: fmt.Sprintf("%s to %s over %s is %s", p.From.Name, p.To.Name, p.Protocol, p.Expected), Time: seconds(p.DurationMillis), Out: p.Command + more(p)}
		cause := &JUnitCause{Message: p.Reason, Text: details(p)}
		switch p.Outcome {
		case Fail:
			c.Failure = cause
		case Broken:
			c.Error = cause
		case Skip:
			c.Skipped = &JUnitCause{Message: p.Reason}
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = seconds(total)
	return suite.Write(w)
}

// Write writes a suite as JUnit XML.
func (suite JUnitSuite) Write(w io.Writer) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(JunitSuites{Suite: suite}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func details(p Result) string {
	var b strings.Builder
	for _, q := range p.Properties {
		mark := "ok"
		if !q.OK {
			mark = "not ok"
		}
		fmt.Fprintf(&b, "%s %s: expected %s, observed %s\n", mark, q.Name, q.Expected, q.Observed)
	}
	return b.String()
}

// more is the evidence and the figures of a path, one line each.
func more(p Result) string {
	var t text
	t.figures(p)
	t.evidence(p.Evidence)
	if t.Len() == 0 {
		return ""
	}
	return "\n" + t.String()
}

func seconds(millis int64) string { return fmt.Sprintf("%.3f", float64(millis)/1000) }
