package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) startCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start [LAB]",
		Short: "Run a stopped lab again",
		Long: "Run a lab again that was stopped, or whose machine was: as it was made, whatever its file\n" +
			"says now. It ends when every Node and the cluster's own Pods are ready; `netlab verify`\n" +
			"verifies the paths.",
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			lab, err := a.lab(args)
			if err != nil {
				return err
			}
			shown := a.progress()
			started, err := a.engine.Start(cmd.Context(), lab, shown)
			took := shown.Close()
			switch {
			case err != nil:
				return err
			case started.Already:
				fmt.Fprintf(a.stdout, "lab %s runs already\n", lab)
			default:
				a.isUp(started.Running, took, started.Merge)
			}
			return nil
		},
	}
}
