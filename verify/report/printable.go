package report

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// Escape escapes the control characters in all texts of a report, but line breaks and tabs: some
// come out of Pods, and a terminal would obey them.
func (r *Report) Escape() { escape(reflect.ValueOf(r)) }

// Escape is Report.Escape for a trace.
func (t *Traced) Escape() { escape(reflect.ValueOf(t)) }

func escape(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			escape(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				escape(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			escape(v.Index(i))
		}
	case reflect.String:
		if text := printable(v.String()); text != v.String() && v.CanSet() {
			v.SetString(text)
		}
	}
}

// printable writes control and format characters (terminal sequences, changes of the direction of
// text) as \x1b or \u202e.
func printable(text string) string {
	if !strings.ContainsFunc(text, obeyed) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !obeyed(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// obeyed reports whether a terminal would act on a character instead of showing it.
func obeyed(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
}
