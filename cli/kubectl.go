package cli

import "github.com/spf13/cobra"

func (a *app) kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "kubectl LAB -- ARG...",
		Short:   "Run kubectl against a lab",
		Example: "  netlab kubectl quickstart -- get pods -A -o wide",
		Args:    between(2, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			lab, err := a.lab(args[:1])
			if err != nil {
				return err
			}
			c, err := a.engine.Kubectl(cmd.Context(), lab, args[1:])
			if err != nil {
				return err
			}
			return a.foreground(c)
		},
	}
}
