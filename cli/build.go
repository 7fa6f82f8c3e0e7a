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
		Short: "Build or fetch what labs need into the cache, and make nothing else",
		Long: "Build or fetch what labs need into the cache, and make nothing else: before a workshop, or\n" +
			"in a CI job of its own. `up` does the same when something is missing.",
		Args: between(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, sets, err := a.resolveAll(args)
			if err != nil {
				return err
			}
			shown := a.progress()
			lacking, err := a.engine.Build(cmd.Context(), sets, shown)
			for _, ref := range slices.Sorted(maps.Keys(lacking)) {
				shown.Warn("labs do without what is optional: " + lacking[ref])
			}
			took := shown.Close()
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "all of it is in %s (%s)\n", a.engine.Software.Dir, elapsed(took))
			return nil
		},
	}
}
