package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop [LAB]",
		Short: "Stop a lab without removing it",
		Long: "Stop a lab, in order: kubelets, containers, Nodes, outside hosts, networks. The Nodes keep\n" +
			"their disks: `netlab start` starts the lab again with the same addresses, Pods and\n" +
			"kubeconfig.",
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			lab, err := a.lab(args)
			if err != nil {
				return err
			}
			began := time.Now()
			already, err := a.engine.Stop(cmd.Context(), lab)
			switch {
			case err != nil:
				return err
			case already:
				fmt.Fprintf(a.stdout, "lab %s is already stopped\n", lab)
			default:
				fmt.Fprintf(a.stdout, "lab %s stopped (%s)\n", lab, elapsed(time.Since(began)))
			}
			return nil
		},
	}
}
