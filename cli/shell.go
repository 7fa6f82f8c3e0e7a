package cli

import "github.com/spf13/cobra"

func (a *app) shellCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "shell LAB MACHINE",
		Short: "Open a shell in a Node or an outside host",
		Args:  between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd, args[0], args[1], []string{"bash", "-i"})
		},
	}
}
