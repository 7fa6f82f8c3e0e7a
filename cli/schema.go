package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/labs"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of lab files, for editors",
		Long: "Print the JSON Schema of lab files. An editor with a YAML language server completes\n" +
			"and checks a lab with this as its first line:\n\n" +
			"  # yaml-language-server: $schema=netlab.schema.json",
		Example: "  netlab schema > netlab.schema.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			schema, err := labs.Schema(a.engine.Known())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s\n", schema)
			return err
		},
	}
}
