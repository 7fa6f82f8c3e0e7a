package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) listCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the labs of this machine",
	}
	output := outputFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		all, err := a.engine.Labs()
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, all)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "LAB\tPROVIDER\tPHASE\tAGE\tFILE")
		for _, s := range all {
			age := ""
			if !s.Created.IsZero() {
				age = time.Since(s.Created).Round(time.Second).String()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Lab, s.Provider, s.Phase, age, s.File)
		}
		return w.Flush()
	}
	return c
}
