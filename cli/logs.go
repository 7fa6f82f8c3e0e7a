package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/engine"
)

func (a *app) logsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logs LAB [MACHINE]",
		Short: "Print the logs of a lab's Nodes and outside hosts",
		Args:  between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			lab, err := a.lab(args[:1])
			if err != nil {
				return err
			}
			machines := "*"
			if len(args) > 1 {
				machines = args[1]
			}
			logs, stale, err := a.engine.Logs(cmd.Context(), lab, machines)
			if stale != nil {
				fmt.Fprintln(a.stderr, "note: logs of Nodes may be out of date:", stale)
			}
			if err != nil {
				return err
			}
			for _, l := range logs {
				fmt.Fprintf(a.stdout, "==> %s <==\n", l.Name)
				if err := a.print(l); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) print(l engine.Log) error {
	f, err := l.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(a.stdout, f)
	return err
}
