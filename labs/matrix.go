package labs

import (
	"fmt"
	"path/filepath"
	"strings"
)

// KindMatrix is the kind of a file that lists lab files.
const KindMatrix = "Matrix"

// Matrix lists labs that are created one after another and compared side by side.
type Matrix struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"` // any text: nothing is named after it
	} `json:"metadata"`
	Labs []string `json:"labs"` // lab files, relative to the matrix's own
}

// IsMatrix reports whether the kind of a file is Matrix.
func IsMatrix(data []byte) bool {
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == "kind" {
			value, _, _ = strings.Cut(value, "#")
			return strings.Trim(strings.TrimSpace(value), `"'`) == KindMatrix
		}
	}
	return false
}

// LoadMatrix decodes a Matrix strictly and returns its lab files, relative to the directory
// of the matrix. The error is Problems, with every error found.
func LoadMatrix(filename string, data []byte) ([]string, error) {
	var m Matrix
	var files []string
	err := Decode(filename, data, KindMatrix, &m, func(doc Document) {
		if len(m.Labs) == 0 {
			doc.Add("labs", "add lab files, for example labs: [one.yaml, two.yaml]", "lists no lab files")
		}
		seen := map[string]int{}
		for i, name := range m.Labs {
			if before, twice := seen[name]; twice {
				doc.Add(fmt.Sprintf("labs[%d]", i), "remove one", "%s is already labs[%d]", name, before)
			}
			seen[name] = i
			if name != "" && !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(filename), name)
			}
			files = append(files, name)
		}
	})
	if err != nil {
		return nil, err
	}
	return files, nil
}
