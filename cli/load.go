package cli

import "github.com/spf13/cobra"

func (a *app) loadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load LAB IMAGE.tar",
		Short: "Load an OCI or docker image archive into every Node",
		Long: "Load an image archive into every Node: an OCI layout or what `docker save` writes, with any\n" +
			"number of tags, plain or compressed by gzip or zstd. `netlab up` loads its images into Nodes\n" +
			"that are added or recreated later.",
		Args: between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			lab, err := a.lab(args[:1])
			if err != nil {
				return err
			}
			shown := a.progress()
			defer shown.Close()
			return a.engine.Load(cmd.Context(), lab, args[1], shown)
		},
	}
}
