package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) buildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build FILE...",
		Short: "Build or pull the software that labs need, without creating a lab",
		Long: "Build or pull the software that labs need into the cache, without creating a lab: before a\n" +
			"workshop, or in a separate CI job. `up` does the same for what is missing.",
		Args: between(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, sets, err := a.resolveAll(args)
			if err != nil {
				return err
			}
			shown := a.progress()
			lacking, err := a.engine.Build(cmd.Context(), sets, shown)
			for _, ref := range slices.Sorted(maps.Keys(lacking)) {
				shown.Warn("skipped optional image: " + lacking[ref])
			}
			took := shown.Close()
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "all components are in %s (%s)\n", a.engine.Software.Dir, elapsed(took))
			return nil
		},
	}
}
