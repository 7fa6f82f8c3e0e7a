package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/report/page"
)

// Formats of a report besides text and JSON.
const (
	formatMatrix format = "matrix"
	formatTAP    format = "tap"
	formatJUnit  format = "junit"
	formatHTML   format = "html"
)

// reportFlags are the flags of a verb that verifies: in which format to print the report, and
// the files to write it to.
type reportFlags struct {
	output *format
	files  []reportFile
}

type reportFile struct {
	form format
	path *string // "" for none
}

// evidence reports whether a requested format shows how packets went on passing paths too.
func (f reportFlags) evidence() bool {
	return slices.ContainsFunc(f.files, func(f reportFile) bool { return f.form == formatHTML && *f.path != "" })
}

// toFiles reports whether a file for the report was requested.
func (f reportFlags) toFiles() bool {
	return slices.ContainsFunc(f.files, func(f reportFile) bool { return *f.path != "" })
}

func newReportFlags(c *cobra.Command, more ...format) reportFlags {
	file := func(form format, usage string) reportFile {
		return reportFile{form, c.Flags().String(string(form), "", "write the report to this `file` as "+usage)}
	}
	return reportFlags{
		output: outputFlag(c, append(more, formatMatrix, formatTAP)...),
		files: []reportFile{
			file(formatJUnit, "JUnit XML, for CI systems"),
			file(formatTAP, "TAP 14, the Test Anything Protocol"),
			file(formatHTML, "a self-contained HTML page: a drawing of the lab, and each path hop by hop"),
		},
	}
}

// report prints a lab's report and writes the requested files; a path that failed makes the
// exit status 1. The page shows all captured evidence, the other formats only what was
// requested.
func (a *app) report(s page.Subject, flags reportFlags, evidence bool) error {
	r := s.Report
	if !evidence {
		r = r.WithoutWays()
	}
	forms := map[format]func(io.Writer) error{
		formatText:   func(w io.Writer) error { return r.WriteText(w, checks.Layout(), painterFor(a.stdout).on) },
		formatMatrix: func(w io.Writer) error { return r.WriteMatrix(w, checks.Layout(), painterFor(a.stdout).on) },
		formatJSON:   r.WriteJSON,
		formatTAP:    r.WriteTAP,
		formatJUnit:  r.WriteJUnit,
		formatHTML:   func(w io.Writer) error { return page.Write(w, s) },

		formatBenchfmt: r.WriteBenchfmt,
	}
	if err := forms[*flags.output](a.stdout); err != nil {
		return err
	}
	for _, f := range flags.files {
		if *f.path == "" {
			continue
		}
		var out bytes.Buffer
		if err := forms[f.form](&out); err != nil {
			return fmt.Errorf("write the report as %s: %w", f.form, err)
		}
		if err := os.WriteFile(*f.path, out.Bytes(), 0o644); err != nil {
			return hint.With(fmt.Errorf("write the report as %s: %w", f.form, err),
				fmt.Sprintf("the lab is unchanged; run `netlab verify %s` to verify it again", r.Lab))
		}
	}
	if code := r.ExitCode(); code != 0 {
		return exitStatus{code}
	}
	return nil
}

// subject is what the page shows of a lab besides its report: the lab file, and the versions
// of the lab's software and of netlab.
func (a *app) subject(r report.Report, set components.Set, file string) page.Subject {
	plan := set.Plan
	s := page.Subject{Report: r, Layout: checks.Layout(), Plan: plan, Made: time.Now(), File: file}
	if text, err := os.ReadFile(file); err != nil {
		s.Doubt = fmt.Sprintf("The lab file could not be read: %v.", err)
	} else {
		s.Text = string(text)
		if now, err := a.plan(file); err != nil || !topology.Compare(plan, now).None() {
			s.Doubt = "The lab file changed after the lab was created: this is its current content."
		}
	}
	v := buildVersion()
	s.Parts = []page.Part{{Name: "netlab", Version: v.Version}}
	if v.Commit != "" {
		s.Parts = append(s.Parts, page.Part{Name: "commit", Version: v.Commit[:min(12, len(v.Commit))]})
	}
	s.Parts = append(s.Parts, page.Part{Name: "built with", Version: v.Go}, page.Part{Name: "platform", Version: runtime.GOOS + "/" + runtime.GOARCH})
	if release := kernel(); release != "" {
		s.Parts = append(s.Parts, page.Part{Name: "kernel", Version: release})
	}
	for _, p := range set.Components {
		if !p.Self() {
			s.Parts = append(s.Parts, page.Part{Name: p.Name, Version: p.Version})
		}
	}
	return s
}

// kernel is the release of the running kernel, "" if unknown.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
