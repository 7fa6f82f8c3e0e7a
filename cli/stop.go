package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop [LAB]",
		Short: "End what of a lab runs, and keep the lab",
		Long: "End what of a lab runs, in order: kubelets, containers, Nodes, outside hosts, networks. The\n" +
			"Nodes keep their disks: `netlab start` brings the lab back as it was, with its addresses,\n" +
			"its Pods and its kubeconfig.",
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
				fmt.Fprintf(a.stdout, "lab %s is stopped already\n", lab)
			default:
				fmt.Fprintf(a.stdout, "lab %s is stopped (%s)\n", lab, elapsed(time.Since(began)))
			}
			return nil
		},
	}
}
