package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/internal/hint"
)

func (a *app) cacheCommand() *cobra.Command {
	c := &cobra.Command{Use: "cache", Short: "Remove software that no lab needs from the cache"}
	c.AddCommand(a.cachePruneCommand())
	return c
}

// month is the default of --older-than.
const month = 30 * 24 * time.Hour

func (a *app) cachePruneCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove what was not used for a month and no lab needs",
		Long: "Remove what was not used for a month and no lab needs: other versions of components, builds of\n" +
			"earlier netlabs, images, disks. What a lab of the state directory or a running lab uses stays.\n" +
			"What is removed is built or pulled again when a lab needs it.",
		Example: "  netlab cache prune --dry-run\n  netlab cache prune --older-than 0",
		Args:    between(0, 0),
	}
	older := c.Flags().Duration("older-than", month, "remove what was not used for this time; 0: everything that no lab needs")
	dry := c.Flags().Bool("dry-run", false, "only list what would be removed")
	output := outputFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		if *older < 0 {
			return hint.With(fmt.Errorf("--older-than %s is negative", *older), "for example --older-than 168h")
		}
		pruned, err := a.engine.PruneCache(*older, *dry)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, struct {
				DryRun  bool              `json:"dryRun"`
				Removed []artifacts.Entry `json:"removed"`
			}{*dry, append([]artifacts.Entry{}, pruned...)})
		}
		return a.printPruned(pruned, *dry)
	}
	return c
}

func (a *app) printPruned(pruned []artifacts.Entry, dry bool) error {
	var sum int64
	if len(pruned) > 0 {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ENTRY\tLAST USED\tSIZE")
		for _, e := range pruned {
			sum += e.Bytes
			fmt.Fprintf(w, "%s/%s\t%s\t%.0f MB\n", e.Kind, e.Name, e.Used.Format(time.DateOnly), float64(e.Bytes)/1e6)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	verb := "removed"
	if dry {
		verb = "would remove"
	}
	fmt.Fprintf(a.stdout, "%s %d entries, %.1f GB\n", verb, len(pruned), float64(sum)/1e9)
	return nil
}
