package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// abreast is how many labs one table shows: more would not fit 100 columns.
const abreast = 7

// writeComparison writes a table with a column for each lab, and a row for each kind of path
// and for each figure.
func writeComparison(out io.Writer, all []engine.Compared) error {
	w := &strings.Builder{}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, one := range all {
		version := ""
		if one.Report != nil {
			version = one.Report.CNI.Version
		}
		var options []string
		for _, key := range slices.Sorted(maps.Keys(one.CNI.Options)) {
			options = append(options, key+" "+one.CNI.Options[key])
		}
		fmt.Fprintf(t, "%d\t%s\t%s %s\t%s\tkube-proxy %s\n", i+1, one.Lab, one.CNI.Name, version, strings.Join(options, ", "), one.Proxy)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for from := 0; from < len(all); from += abreast {
		some := all[from:min(from+abreast, len(all))]
		if err := columns(w, from, some); err != nil {
			return err
		}
	}
	for i, one := range all {
		if one.Error != "" {
			fmt.Fprintf(w, "\n✗ %d %s: %s\n", i+1, one.Lab, one.Error)
		}
	}
	fmt.Fprintf(w, "\n✓ as expected  ✗ failed  ! could not be probed  – not applicable\n"+
		"open: policies are not enforced, as expected of this CNI\n")
	_, err := io.WriteString(out, w.String())
	return err
}

func columns(w io.Writer, from int, some []engine.Compared) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, cell func(engine.Compared) string) {
		cells := []string{name}
		for _, one := range some {
			cells = append(cells, cell(one))
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	}
	fmt.Fprintln(t)
	number := from
	row("", func(engine.Compared) string { number++; return strconv.Itoa(number) })
	for _, id := range checks.IDs() {
		row(id, func(one engine.Compared) string { return became(one.Report, id) })
	}
	fmt.Fprintln(t)
	figure := func(name, format string, value func(engine.Compared) float64) {
		row(name, func(one engine.Compared) string {
			if v := value(one); v > 0 {
				return fmt.Sprintf(format, v)
			}
			return "–"
		})
	}
	figure("up, verified, s", "%.1f", func(one engine.Compared) float64 { return one.UpSeconds })
	figure("verify again, s", "%.1f", func(one engine.Compared) float64 { return one.VerifySeconds })
	figure("policy to effect, s", "%.2f", func(one engine.Compared) float64 {
		if one.Report == nil {
			return 0
		}
		return one.Report.PolicySeconds()
	})
	figure("memory per Node, MB", "%.0f", func(one engine.Compared) float64 { return float64(one.NodeBytes) / 1e6 })
	figure("down, s", "%.1f", func(one engine.Compared) float64 { return one.DownSeconds })
	return t.Flush()
}

// became sums up the results of the paths of one id: how many passed, or how many did not.
func became(r *report.Report, id string) string {
	if r == nil {
		return "–"
	}
	count := map[string]int{}
	expected := ""
	for _, p := range r.Paths {
		if p.ID == id {
			count[p.Outcome]++
			expected = p.Expected
		}
	}
	tried := count[report.Pass] + count[report.Fail] + count[report.Broken]
	switch {
	case tried == 0:
		return "–"
	case count[report.Fail] > 0:
		return fmt.Sprintf("✗ %d of %d", count[report.Fail], tried)
	case count[report.Broken] > 0:
		return fmt.Sprintf("! %d of %d", count[report.Broken], tried)
	case expected == report.NotEnforced:
		return "open"
	}
	return fmt.Sprintf("✓ %d", tried)
}
