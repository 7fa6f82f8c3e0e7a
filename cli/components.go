package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/artifacts"
)

func (a *app) componentsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "components",
		Short: "List the software of labs: versions, cache, origin, differences",
	}
	output := outputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		all, err := a.engine.Components()
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, all)
		}
		return a.printComponents(all)
	}
	return cmd
}

func (a *app) printComponents(all []artifacts.Status) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "COMPONENT\tVERSION\tKIND\tCACHED\tFROM\tMADE IN\tSIZE\tSOURCES")
	for _, s := range all {
		cached, made, size := "no", "", ""
		if s.Cached {
			cached = "yes"
		}
		if len(s.From) > 0 {
			made, size = fmt.Sprintf("%.0fs", s.Seconds), fmt.Sprintf("%.0f MB", float64(s.Bytes)/1e6)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Version, s.Kind, cached, strings.Join(s.From, ", "), made, size, strings.Join(s.Could, ", "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range all {
		for i, l := range s.Lacks {
			if i == 0 {
				fmt.Fprintf(a.stdout, "\n%s, as built here, lacks:\n", s.Name)
			}
			fmt.Fprintf(a.stdout, "  - %s\n", l)
		}
		for i, d := range s.Differs {
			if i == 0 {
				fmt.Fprintf(a.stdout, "\n%s is set differently from upstream:\n", s.Name)
			}
			fmt.Fprintf(a.stdout, "  - %s\n", d)
		}
		if s.Notice != "" {
			fmt.Fprintf(a.stdout, "\nnote: %s\n", s.Notice)
		}
	}
	return nil
}
