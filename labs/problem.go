package labs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one error in a lab file.
type Problem struct {
	File  string // as given by the user; empty for a lab that was not read from a file
	Line  int    // counted from 1; 0 where no line is known
	Field string // path of the field, such as nodes[1].role; empty for the file as a whole
	What  string // what is wrong
	Hint  string // what to do about it; may be empty
}

// Error writes the problem on one line: file:line: field: what; hint.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
		if p.Line > 0 {
			fmt.Fprintf(&b, "%d:", p.Line)
		}
		b.WriteString(" ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.What)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Problems are all errors in a lab file, in the order of its lines.
type Problems []Problem

// Error writes one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns the problems as an error: nil where there are none, so that no caller
// compares an empty Problems with nil.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// in returns the problems of a file, sorted, as an error.
func (ps Problems) in(filename string) error { return ps.of(filename).err() }

func (ps Problems) of(filename string) Problems {
	ps = ps.sorted()
	for i := range ps {
		ps[i].File = filename
	}
	return ps
}

// At returns Located as an error: nil where there are no problems.
func (ps Problems) At(filename string) error { return ps.Located(filename).err() }

// Located sets File and Line of problems that a later stage found, and sorts them by line.
// Line stays 0 where the file can no longer be read.
func (ps Problems) Located(filename string) Problems {
	located := slices.Clone(ps)
	data, err := ReadFile(filename)
	if d, _ := decode(data, Kind, &Lab{}); err == nil && d != nil {
		for i := range located {
			located[i].Line = d.lineOf(located[i].Field)
		}
	}
	return located.of(filename)
}

func (ps *Problems) add(field, hint, format string, args ...any) {
	*ps = append(*ps, Problem{Field: field, What: fmt.Sprintf(format, args...), Hint: hint})
}

// sorted orders by line, stable within a line, and drops duplicates.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	seen := map[Problem]bool{}
	return slices.DeleteFunc(ps, func(p Problem) bool {
		again := seen[p]
		seen[p] = true
		return again
	})
}

// DidYouMean is the hint for an unknown name: the nearest known one where it looks like a
// typing error, else all known ones.
func DidYouMean(name string, known []string) string {
	best := Nearest(name, known)
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(known) == 0:
		return ""
	}
	return "supported: " + strings.Join(known, ", ")
}

// Nearest returns the known name closest to name; "" where none is close enough to be a typing
// error.
func Nearest(name string, known []string) string {
	best, distance := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, drop or replace to get from a to b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
