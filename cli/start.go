package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) startCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start [LAB]",
		Short: "Start a stopped lab",
		Long: "Start a lab that was stopped, or whose machine rebooted, as it was created: later changes of\n" +
			"its file are not applied. The command returns when every Node and the cluster's own Pods are\n" +
			"ready; `netlab verify` verifies the paths.",
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
				fmt.Fprintf(a.stdout, "lab %s is already running\n", lab)
			default:
				a.isUp(started.Running, took, started.Merge)
			}
			return nil
		},
	}
}
