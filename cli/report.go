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

// The forms of a report beside text and JSON.
const (
	formatMatrix format = "matrix"
	formatTAP    format = "tap"
	formatJUnit  format = "junit"
	formatHTML   format = "html"
)

// reportFlags are what a verb that verifies is told of its report: how to print it, and
// into which files to write it in which form.
type reportFlags struct {
	output *format
	files  []reportFile
}

type reportFile struct {
	form format
	path *string // "" for none
}

// evidence reports whether some form wants to show how packets went, of paths too that are
// as expected.
func (f reportFlags) evidence() bool {
	return slices.ContainsFunc(f.files, func(f reportFile) bool { return f.form == formatHTML && *f.path != "" })
}

// toFiles reports whether the report was to be written to some file.
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
			file(formatJUnit, "JUnit XML, which CI systems show"),
			file(formatTAP, "TAP 14, the Test Anything Protocol"),
			file(formatHTML, "one HTML page that needs nothing else: the lab drawn, each path on it hop by hop"),
		},
	}
}

// report prints what is known of a lab's report and writes its files; a path that failed
// makes the exit status 1. The page shows all evidence that there is, the other forms only
// what was asked for.
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
				fmt.Sprintf("the lab is as it was; `netlab verify %s` verifies again", r.Lab))
		}
	}
	if code := r.ExitCode(); code != 0 {
		return exitStatus{code}
	}
	return nil
}

// subject is what the page tells of a lab beside its report: the file that it came from,
// and the software that it and this netlab are made of.
func (a *app) subject(r report.Report, set components.Set, file string) page.Subject {
	plan := set.Plan
	s := page.Subject{Report: r, Layout: checks.Layout(), Plan: plan, Made: time.Now(), File: file}
	if text, err := os.ReadFile(file); err != nil {
		s.Doubt = fmt.Sprintf("The lab file could not be read: %v.", err)
	} else {
		s.Text = string(text)
		if now, err := a.plan(file); err != nil || !topology.Compare(plan, now).None() {
			s.Doubt = "The lab file was changed since the lab was made: this is what it says now."
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

// kernel is the release of the running kernel, "" where it does not tell.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
