// Package page writes a report.Report as one self-contained HTML file: no network, no other
// file, no script but its own. It takes a Report with the Plan of its lab and returns a page
// that shows a drawing of the lab, each path over it hop by hop, the measurements with their
// intervals, and how to recreate the lab.
//
// The content is made here, by html/template; page.js opens paths and draws their routes,
// whose geometry (ways.go) is in the page as JSON. Without scripts everything can be read,
// only not drawn. Nothing is shown that the Report does not hold: of a path without evidence
// only the source and destination are drawn. Measurements, which are not captured, are drawn
// along the hops of a path with the same source and destination, where the Report has one.
package page

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/drawing"
	"netlab.dev/netlab/verify/report"
)

// Subject is what a page is about.
type Subject struct {
	Report report.Report
	Layout report.Layout // how its paths are grouped
	Plan   topology.Plan
	Made   time.Time // when it was verified
	File   string    // path of the lab file
	Text   string    // content of the lab file; "" where it is not available
	Doubt  string    // why Text may differ from what runs, or is not available; "" for neither
	Parts  []Part    // the software of the lab and of this machine
}

// Part is a piece of software that a report depends on.
type Part struct {
	Name    string
	Version string
}

//go:embed page.html
var markup string

//go:embed page.css
var style string

//go:embed page.js
var script string

// Write writes the page.
func Write(w io.Writer, s Subject) error {
	t, err := template.New("page").Funcs(template.FuncMap{"path": pathID}).Parse(markup)
	if err != nil {
		return fmt.Errorf("the page's template: %w", err)
	}
	v, err := newView(s)
	if err != nil {
		return err
	}
	return t.Execute(w, v)
}

// pathID is the fragment of a path's link, by its position in the Report.
func pathID(i int) string { return fmt.Sprintf("path-%d", i+1) }

// The drawings of a page: one next to the paths in a wide window, or above them in a narrower
// one, and one of a single column for a phone. ways has the geometry of both.
func drawings(plan topology.Plan, s scene) [2]drawing.Drawing {
	wide := drawing.Options{Columns: 3, Pods: s.pods, Interfaces: s.interfaces}
	narrow := wide
	narrow.Columns = 1
	return [2]drawing.Drawing{drawing.New(plan, wide), drawing.New(plan, narrow)}
}

func inline(d drawing.Drawing) (template.HTML, error) {
	var out bytes.Buffer
	err := d.Inline(&out)
	return template.HTML(out.String()), err // its texts are escaped there
}
