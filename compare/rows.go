package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/verify/report"
)

// Better is the direction in which a value is better.
type Better int

// Directions.
const (
	Neither Better = 0
	Higher  Better = 1
	Lower   Better = -1
)

// The groups of rows, the first part of their keys, in the order of the table.
const (
	GroupPaths       = "paths"
	GroupFacts       = "seen"
	GroupTime        = "time"
	GroupEffect      = "effect"
	GroupMTU         = "payload"
	GroupMemory      = "memory"
	GroupCPU         = "cpu"
	GroupThroughput  = "throughput"
	GroupRatio       = "ratio"
	GroupRetransmits = "retransmits"
	GroupLatency     = "latency"
)

// Groups lists the groups of rows.
func Groups() []string {
	return []string{GroupPaths, GroupFacts, GroupTime, GroupEffect, GroupMTU, GroupMemory, GroupCPU, GroupThroughput, GroupRatio, GroupRetransmits, GroupLatency}
}

// Row is one property of a variant, with an observation for each run that has it: States of a kind of
// path, Facts, or Values. A value is that of a whole run: samples within one lab do not differ as two
// labs do.
type Row struct {
	Key    string `json:"key"`  // such as throughput.clusterip.tcp.x1.forward
	Name   string `json:"name"` // for people
	Unit   string `json:"unit,omitempty"`
	Better Better `json:"better,omitempty"`
	Part   bool   `json:"part,omitempty"` // of a workload, which another variant may not have

	States []State   `json:"states,omitempty"`
	Facts  []string  `json:"facts,omitempty"`
	Values []float64 `json:"values,omitempty"`
}

// Group is the first part of the row's key.
func (r Row) Group() string {
	group, _, _ := strings.Cut(r.Key, ".")
	return group
}

// State is what a kind of path was in one run, the worst of its paths.
type State struct {
	Grade  Grade `json:"grade"`
	Passed int   `json:"passed"` // paths
	Tried  int   `json:"tried"`
}

// Grade orders states: the higher, the better.
type Grade int

// Grades of a kind of path.
const (
	GradeFailed  Grade = iota + 1 // one at least failed
	GradeBroken                   // one at least could not be probed
	GradeSkipped                  // the lab does not have it
	GradeOpen                     // policies are not enforced, as expected of the CNI
	GradePassed
)

// Column is a variant with its rows.
type Column struct {
	Variant Variant  `json:"variant"`
	Version string   `json:"version"` // of the CNI
	Runs    int      `json:"runs"`
	Errors  []string `json:"errors,omitempty"`
	Rows    []Row    `json:"rows"`
}

// Columns makes rows of the runs of each variant.
func (r Results) Columns() []Column {
	all := make([]Column, len(r.Variants))
	for i, v := range r.Variants {
		c := Column{Variant: v}
		rows := map[string]*Row{}
		var order []string
		for _, run := range r.Runs {
			if run.Variant != i {
				continue
			}
			c.Runs++
			if run.Error != "" {
				c.Errors = append(c.Errors, run.Error)
			}
			if run.Report != nil {
				c.Version = run.Report.CNI.Version
			}
			for _, o := range observed(run) {
				row := rows[o.Key]
				if row == nil {
					rows[o.Key], order = &o, append(order, o.Key)
					continue
				}
				row.States, row.Facts, row.Values = append(row.States, o.States...), append(row.Facts, o.Facts...), append(row.Values, o.Values...)
			}
		}
		for _, key := range order {
			c.Rows = append(c.Rows, *rows[key])
		}
		all[i] = c
	}
	return all
}

// Row returns a row of the column; false if no run has it.
func (c Column) Row(key string) (Row, bool) {
	i := slices.IndexFunc(c.Rows, func(r Row) bool { return r.Key == key })
	if i < 0 {
		return Row{}, false
	}
	return c.Rows[i], true
}

// keysOf lists the rows that any of several columns has, in the order of the groups.
func keysOf(columns []Column) (rows []Row) {
	seen := map[string]bool{}
	for _, c := range columns {
		for _, r := range c.Rows {
			if !seen[r.Key] {
				rows, seen[r.Key] = append(rows, r), true
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Compare(slices.Index(Groups(), a.Group()), slices.Index(Groups(), b.Group()))
	})
	return rows
}

// observed are the rows of one run, each with one observation.
func observed(run Run) (rows []Row) {
	grade := GradePassed
	if run.Report == nil {
		grade = GradeFailed
	}
	rows = append(rows, Row{Key: GroupPaths + ".lab", Name: "lab", States: []State{{grade, int(grade / GradePassed), 1}}})
	value := func(key, name, unit string, better Better, v float64) {
		rows = append(rows, Row{Key: key, Name: name, Unit: unit, Better: better, Values: []float64{v}})
	}
	seconds := func(key, name string, v float64) {
		if v > 0 {
			value(GroupTime+"."+key, name, report.UnitSeconds, Lower, v)
		}
	}
	seconds("up", "up, verified", run.UpSeconds)
	seconds("verify", "verify again", run.VerifySeconds)
	seconds("down", "down", run.DownSeconds)
	if run.NodeBytes > 0 {
		value(GroupMemory+".node", "memory per Node", report.UnitBytes, Lower, float64(run.NodeBytes))
	}
	for _, u := range run.Usage {
		rows = append(rows,
			Row{Key: GroupMemory + "." + u.Workload, Name: "memory of " + u.Workload, Unit: report.UnitBytes, Better: Lower, Part: true, Values: []float64{float64(u.Bytes)}},
			Row{Key: GroupCPU + "." + u.Workload, Name: "CPU of " + u.Workload, Unit: report.UnitSeconds, Better: Lower, Part: true, Values: []float64{u.CPUSeconds}})
	}
	if run.Report == nil {
		return rows
	}
	paths := slices.Clone(run.Report.Paths)
	if run.Measured != nil {
		for _, p := range run.Measured.Paths {
			if !slices.ContainsFunc(run.Report.Paths, func(q report.Result) bool { return q.ID == p.ID }) {
				paths = append(paths, p)
			}
		}
	}
	rows = append(rows, states(paths)...)
	rows = append(rows, effects(paths)...)
	if run.Measured != nil {
		rows = append(rows, encapsulation(run.Measured.Paths)...)
		rows = append(rows, figures(run.Measured.Paths)...)
	}
	return rows
}

// states are the rows of the kinds of paths.
func states(paths []report.Result) (rows []Row) {
	at := map[string]int{}
	for _, p := range paths {
		i, known := at[p.ID]
		if !known {
			i = len(rows)
			at[p.ID] = i
			rows = append(rows, Row{Key: GroupPaths + "." + p.ID, Name: p.ID, States: []State{{Grade: GradePassed}}})
		}
		s := &rows[i].States[0]
		grade := GradePassed
		switch {
		case p.Outcome == report.Fail:
			grade = GradeFailed
		case p.Outcome == report.Skip:
			if s.Tried == 0 {
				s.Grade = GradeSkipped
			}
			continue
		case p.Outcome != report.Pass:
			grade = GradeBroken
		case p.Expected == report.NotEnforced:
			grade = GradeOpen
		}
		if p.Outcome == report.Pass {
			s.Passed++
		}
		if s.Tried == 0 {
			s.Grade = grade
		}
		s.Grade = min(s.Grade, grade)
		s.Tried++
	}
	return rows
}

// effects are the medians of what was measured of paths in one run.
func effects(paths []report.Result) (rows []Row) {
	for _, m := range []struct {
		key, row, name, unit string
		better               Better
	}{
		{report.MeasuredEffect, GroupEffect + ".policy", "policy to effect", report.UnitSeconds, Lower},
		{report.MeasuredEnd, GroupEffect + ".policy-end", "policy's end to effect", report.UnitSeconds, Lower},
		{report.MeasuredLabelled, GroupEffect + ".label", "label to effect", report.UnitSeconds, Lower},
		{report.MeasuredUnlabelled, GroupEffect + ".label-end", "label's removal to effect", report.UnitSeconds, Lower},
		{report.MeasuredDrained, GroupEffect + ".drained", "deleted backend's last request", report.UnitSeconds, Lower},
		{report.MeasuredLongest, GroupEffect + ".wait", "longest wait on a connection", report.UnitSeconds, Lower},
		{report.MeasuredSilence, GroupEffect + ".silence", "longest silence of a socket", report.UnitSeconds, Lower},
		{report.MeasuredPayload, GroupMTU + ".unfragmented", "unfragmented payload", report.UnitBytes, Higher},
	} {
		var values []float64
		for _, p := range paths {
			if v, ok := p.Measured(m.key); ok {
				values = append(values, v.Value)
			}
		}
		if len(values) > 0 {
			rows = append(rows, Row{Key: m.row, Name: m.name, Unit: m.unit, Better: m.better, Values: []float64{median(values)}})
		}
	}
	return rows
}

// encapsulation is what the packets between Pods were in, as captured on the wire.
func encapsulation(paths []report.Result) []Row {
	seen := ""
	for _, p := range paths {
		if p.Evidence == nil {
			continue
		}
		if seen == "" {
			seen = "none"
		}
		for _, h := range p.Evidence.Hops {
			if h.Outer != nil {
				seen = h.Outer.Kind
			}
		}
	}
	if seen == "" {
		return nil
	}
	return []Row{{Key: GroupFacts + ".encapsulation", Name: "encapsulation seen", Facts: []string{seen}}}
}

// figures are the rows of throughput and latency.
func figures(paths []report.Result) (rows []Row) {
	add := func(key, name, unit string, better Better, v float64) {
		rows = append(rows, Row{Key: key, Name: name, Unit: unit, Better: better, Values: []float64{v}})
	}
	bare := map[bool]float64{} // p50 of the bare route, by Connect
	for _, p := range paths {
		if p.Latency != nil && p.Route == report.BareRoute {
			bare[p.Latency.Connect] = p.Latency.P50.Median
		}
	}
	for _, p := range paths {
		if f := p.Throughput; f != nil {
			key := fmt.Sprintf(".%s.%s.x%d.%s", p.Route, p.Protocol, f.Streams, f.Direction)
			name := fmt.Sprintf("%s %s ×%d %s", p.Route, p.Protocol, f.Streams, f.Direction)
			add(GroupThroughput+key, name, report.UnitRate, Higher, f.Median)
			if f.Ratio > 0 {
				add(GroupRatio+key, name+", of bare", UnitRatio, Higher, f.Ratio)
			}
			if f.Retransmits != nil {
				add(GroupRetransmits+key, name+", resent", UnitSegments, Lower, f.Retransmits.Median)
			}
			if f.CPUSeconds != nil {
				add(GroupCPU+key, name+", CPU", UnitPerGigabit, Lower, f.CPUSeconds.Median)
			}
		}
		if l := p.Latency; l != nil {
			connection := map[bool]string{false: "one", true: "each"}[l.Connect]
			key, name := "."+p.Route+"."+connection, fmt.Sprintf("%s, %s connection", p.Route, connection)
			add(GroupLatency+".p50"+key, name+", p50", report.UnitMicros, Lower, l.P50.Median)
			add(GroupLatency+".p90"+key, name+", p90", report.UnitMicros, Lower, l.P90.Median)
			add(GroupLatency+".p99"+key, name+", p99", report.UnitMicros, Lower, l.P99.Median)
			if base := bare[l.Connect]; base > 0 && p.Route != report.BareRoute {
				add(GroupLatency+".ratio"+key, name+", p50 of bare", UnitRatio, Lower, l.P50.Median/base)
			}
		}
	}
	return rows
}

// Units of rows, besides those of a report.
const (
	UnitRatio      = "×"
	UnitSegments   = "segments"
	UnitPerGigabit = "s/Gbit"
)

func median(values []float64) float64 { return report.FigureOf("", values).Median }
