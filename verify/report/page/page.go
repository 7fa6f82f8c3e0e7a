// Package page writes a report.Report as one HTML file that needs nothing else: no
// network, no file beside it, no script but its own. It takes a Report with the Plan of
// its lab and gives a page that shows the lab drawn, each path over it hop by hop, the
// measurements with their intervals, and what it takes to make the lab again.
//
// What a reader sees is made here, by html/template; page.js opens paths and draws their
// ways, whose geometry (ways.go) lies in the page as JSON. Without script everything is
// there to be read, only not drawn. Nothing is shown that the Report does not hold: of a
// path without evidence only the ends are drawn. Measurements, which are not captured, are
// drawn along the hops of a path between the same ends, where the Report has one.
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
	Text   string    // what the lab file says; "" where it cannot be told
	Doubt  string    // why Text may not be what runs, or is not there; "" for none
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

// pathID is the fragment that leads to a path, by its place in the Report.
func pathID(i int) string { return fmt.Sprintf("path-%d", i+1) }

// The drawings of a page: one that fits beside the paths in a wide window, or above them in
// a narrower one, and one of a single column for a phone. ways has the geometry of both.
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
