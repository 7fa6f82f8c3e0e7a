package cli

import (
	"io"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/drawing"
)

// Formats of a drawing.
const (
	formatSVG     format = "svg"
	formatMermaid format = "mermaid"
	formatDOT     format = "dot"
)

func (a *app) graphCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "graph LAB|FILE",
		Short: "Draw the networks, machines and addresses of a lab or a lab file",
		Long: "Draw the networks, machines, NICs and addresses of a lab or a lab file. The SVG is\n" +
			"self-contained; Mermaid is for Markdown, dot for Graphviz.",
		Example: "  netlab graph scenarios/quickstart.yaml > lab.svg\n  netlab graph quickstart -o dot | dot -Tpng > lab.png",
		Args:    between(1, 1),
	}
	output := formatFlag(c, formatSVG, formatMermaid, formatDOT)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		plan, err := a.planOf(args[0])
		if err != nil {
			return err
		}
		d := drawing.New(plan, drawing.Options{})
		forms := map[format]func(io.Writer) error{formatSVG: d.SVG, formatMermaid: d.Mermaid, formatDOT: d.DOT}
		return forms[*output](a.stdout)
	}
	return c
}

// planOf returns the plan of a lab file or of an existing lab.
func (a *app) planOf(arg string) (topology.Plan, error) {
	if isFile(arg) {
		return a.plan(arg)
	}
	lab, err := parseLab(arg)
	if err != nil {
		return topology.Plan{}, err
	}
	state, err := a.engine.State(lab)
	return state.Plan, err
}
