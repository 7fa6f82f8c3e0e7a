package labs

import (
	"fmt"
	"path/filepath"
	"strings"
)

// KindMatrix is the kind of a file that names labs.
const KindMatrix = "Matrix"

// Matrix names labs that are made one after another and shown side by side.
type Matrix struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"` // any text: nothing is made of it
	} `json:"metadata"`
	Labs []string `json:"labs"` // lab files, relative to the matrix's own
}

// IsMatrix reports whether a file says that it is a Matrix.
func IsMatrix(data []byte) bool {
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == "kind" {
			value, _, _ = strings.Cut(value, "#")
			return strings.Trim(strings.TrimSpace(value), `"'`) == KindMatrix
		}
	}
	return false
}

// LoadMatrix reads a Matrix strictly and gives its lab files, relative to where the matrix
// is. The error is Problems with all that is wrong.
func LoadMatrix(filename string, data []byte) ([]string, error) {
	var m Matrix
	d, problems := decode(data, KindMatrix, &m)
	if d == nil {
		return nil, problems.in(filename)
	}
	tell := func(field, hint, format string, args ...any) {
		if !d.toldAbove(field) {
			d.problems = append(d.problems, Problem{Line: d.lineOf(field), Field: field, What: fmt.Sprintf(format, args...), Hint: hint})
		}
	}
	if m.APIVersion == "" {
		tell("apiVersion", "add apiVersion: "+APIVersion, "is missing")
	}
	if m.Kind == "" {
		tell("kind", "add kind: "+KindMatrix, "is missing")
	}
	if len(m.Labs) == 0 {
		tell("labs", "name lab files, as in labs: [one.yaml, two.yaml]", "names no lab")
	}
	var files []string
	seen := map[string]int{}
	for i, name := range m.Labs {
		field := fmt.Sprintf("labs[%d]", i)
		if before, twice := seen[name]; twice {
			tell(field, "leave one out", "%s is labs[%d] already", name, before)
		}
		seen[name] = i
		if name != "" && !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(filename), name)
		}
		files = append(files, name)
	}
	if len(d.problems) > 0 {
		return nil, d.problems.in(filename)
	}
	return files, nil
}
