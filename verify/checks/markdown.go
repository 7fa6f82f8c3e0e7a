package checks

import (
	"fmt"
	"strings"
)

// Markdown documents the table; it is the content of docs/paths.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# The communication paths that netlab verifies

<!-- Generated from the table in verify/checks: go test ./verify/checks -run TestPathsDocument -update -->

Each path of a lab is a row of its report, or a skip with the reason where the lab lacks
what the path requires. In addition to the reply itself, the report shows each assertion. A
probe that could not run makes a path broken; it never counts as blocked.
`)
	section := ""
	for _, c := range All() {
		if c.Section != section && !strings.Contains(b.String(), "\n## "+c.Section+"\n") {
			fmt.Fprintf(&b, "\n## %s\n\n| id | from → to | asserted |\n|---|---|---|\n", c.Section)
			for _, d := range All() {
				if d.Section == c.Section {
					fmt.Fprintf(&b, "| %s | %s | %s |\n", d.names(), d.Title, d.asserted())
				}
			}
		}
		section = c.Section
	}
	return b.String()
}

func (c Check) names() string {
	out := "`" + c.ID + "`"
	for _, a := range c.Aliases {
		out += " (was `" + a + "`)"
	}
	return out
}

func (c Check) asserted() string {
	var out []string
	for _, a := range c.Asserts {
		out = append(out, a.String())
	}
	return strings.Join(out, "; ")
}
