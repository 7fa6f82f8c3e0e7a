package labs

import "fmt"

// Document is a file of a kind of its own (a Matrix, an exercise) while its values are checked.
type Document struct{ d *decoder }

// Decode reads a file of a kind strictly into what out points to, with the rules of a lab file:
// json tags, one YAML document, no unknown fields. check, which may be nil, adds the problems of
// values. The filename is for messages only. The error is Problems, with every problem found.
func Decode(filename string, data []byte, kind string, out any, check func(Document)) error {
	d, problems := decode(data, kind, out)
	if d == nil {
		return problems.in(filename)
	}
	doc := Document{d}
	for _, f := range []struct{ name, value string }{{"apiVersion", APIVersion}, {"kind", kind}} {
		if !doc.Has(f.name) {
			doc.Add(f.name, "add "+f.name+": "+f.value, "is missing")
		}
	}
	if check != nil {
		check(doc)
	}
	return d.problems.in(filename)
}

// Has reports whether the file has a field.
func (doc Document) Has(field string) bool { return doc.d.lines[field] > 0 }

// Line is the line of a field, or of its nearest parent in the file.
func (doc Document) Line(field string) int { return doc.d.lineOf(field) }

// Reported reports whether a field, one below it or a parent has a problem already.
func (doc Document) Reported(field string) bool {
	return doc.d.reportedBelow(field) || doc.d.reportedAbove(field)
}

// Add adds a problem of a field, unless the field or a parent has one already: such a field counts
// as unset.
func (doc Document) Add(field, hint, format string, args ...any) {
	doc.Append(Problem{Field: field, What: fmt.Sprintf(format, args...), Hint: hint})
}

// Append is Add for problems that another check found.
func (doc Document) Append(problems ...Problem) {
	for _, p := range problems {
		if doc.d.reportedAbove(p.Field) {
			continue
		}
		if p.Line == 0 {
			p.Line = doc.Line(p.Field)
		}
		doc.d.problems = append(doc.d.problems, p)
	}
}

// fileOf is what a file of a kind is called in messages.
func fileOf(kind string) string {
	if kind == Kind || kind == KindMatrix {
		return "a lab file"
	}
	return "a file of kind " + kind
}
