// Package cli is netlab's command line: one file per verb, with its flags and output, and the
// exit codes. What a verb does is in internal/engine.
package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// app is what every verb works with: the streams and the engine.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	engine         engine.Engine
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) (*app, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e, err := engine.FromEnvironment(self)
	if err != nil {
		return nil, err
	}
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, engine: e}, nil
}

// plan reads a lab file and makes its Plan.
func (a *app) plan(file string) (topology.Plan, error) {
	plan, notes, err := a.engine.Plan(file)
	a.notes(notes)
	return plan, err
}

// resolve is plan with the components of the lab.
func (a *app) resolve(file string) (components.Set, error) {
	set, notes, err := a.engine.Resolve(file)
	a.notes(notes)
	return set, err
}

// resolveAll is resolve for several lab files and for the labs that a Matrix lists.
func (a *app) resolveAll(args []string) (files []string, sets []components.Set, err error) {
	if files, err = a.engine.Files(args); err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		set, err := a.resolve(file)
		if err != nil {
			return nil, nil, err
		}
		sets = append(sets, set)
	}
	return files, sets, nil
}

func (a *app) notes(notes labs.Problems) {
	for _, note := range notes {
		fmt.Fprintf(a.stderr, "note: %v\n", note)
	}
}

// lab returns the lab of a name or a lab file; without an argument, the machine's only lab.
func (a *app) lab(args []string) (labs.Name, error) {
	if len(args) == 0 {
		return a.engine.Only()
	}
	if isFile(args[0]) {
		plan, notes, err := a.engine.Unlocked().Plan(args[0])
		a.notes(notes)
		return plan.Lab, err
	}
	return parseLab(args[0])
}

// parseLab reads the name of a lab that a verb was given.
func parseLab(arg string) (labs.Name, error) {
	return labs.ParseName(arg)
}

// isFile reports whether an argument is the path of a lab file, not the name of a lab.
func isFile(arg string) bool {
	if strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml") {
		return true
	}
	if _, err := labs.ParseName(arg); err == nil {
		return false
	}
	info, err := os.Stat(arg)
	return err == nil && info.Mode().IsRegular()
}

func (a *app) progress() *progress {
	columns := width(a.stderr)
	return newProgress(a.stderr, columns > 0 && os.Getenv("TERM") != "dumb", columns, painterFor(a.stderr))
}

// width returns a terminal's columns, 0 where w is not a terminal.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns < 20 {
		return 80
	}
	return columns
}
