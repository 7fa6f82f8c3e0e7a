// Package hint adds to errors what the user can do about them. An error with a hint has a
// method Hint() string; With makes one, and other error types may have the method too. Package
// cli prints hints.
package hint

import (
	"slices"
	"strings"
)

// With adds to an error what the user can do about it. It is nil for a nil error.
func With(err error, hint string) error {
	if err == nil {
		return nil
	}
	return hinted{err, hint}
}

type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }

// Of collects the hints of an error and of all that it wraps, outermost first, each once.
func Of(err error) []string { return collect(err, nil) }

func collect(err error, found []string) []string {
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" && !slices.Contains(found, h.Hint()) {
		found = append(found, h.Hint())
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			found = collect(inner, found)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			found = collect(inner, found)
		}
	}
	return found
}

// Split returns the errors of an errors.Join, so that each is printed with its own hint. An
// error that joins others within its own text is not split; nil has none.
func Split(err error) []error {
	if err == nil {
		return nil
	}
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	var texts []string
	for _, e := range several.Unwrap() {
		out = append(out, Split(e)...)
		texts = append(texts, e.Error())
	}
	if err.Error() != strings.Join(texts, "\n") {
		return []error{err}
	}
	return out
}
