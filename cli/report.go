package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify"
)

// The forms of a report beside text and JSON.
const (
	formatMatrix format = "matrix"
	formatTAP    format = "tap"
	formatJUnit  format = "junit"
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

func newReportFlags(c *cobra.Command, more ...format) reportFlags {
	file := func(form format, usage string) reportFile {
		return reportFile{form, c.Flags().String(string(form), "", "write the report to this `file` as "+usage)}
	}
	return reportFlags{
		output: outputFlag(c, append(more, formatMatrix, formatTAP)...),
		files: []reportFile{
			file(formatJUnit, "JUnit XML, which CI systems show"),
			file(formatTAP, "TAP 14, the Test Anything Protocol"),
		},
	}
}

// report prints a report and writes its files; a path that failed makes the exit status 1.
func (a *app) report(r verify.Report, flags reportFlags) error {
	forms := map[format]func(io.Writer) error{
		formatText:   func(w io.Writer) error { return r.WriteText(w, painterFor(a.stdout).on) },
		formatMatrix: func(w io.Writer) error { return r.WriteMatrix(w, painterFor(a.stdout).on) },
		formatJSON:   r.WriteJSON,
		formatTAP:    r.WriteTAP,
		formatJUnit:  r.WriteJUnit,

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
			return providers.WithHint(fmt.Errorf("write the report as %s: %w", f.form, err),
				fmt.Sprintf("the lab is as it was; `netlab verify %s` verifies again", r.Lab))
		}
	}
	if code := r.ExitCode(); code != 0 {
		return exitStatus{code}
	}
	return nil
}
