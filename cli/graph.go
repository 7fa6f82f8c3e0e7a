package cli

import (
	"io"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/drawing"
)

// The forms of a drawing.
const (
	formatSVG     format = "svg"
	formatMermaid format = "mermaid"
	formatDOT     format = "dot"
)

func (a *app) graphCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "graph LAB|FILE",
		Short: "Draw a lab, or what a lab file comes to: networks, machines, addresses",
		Long: "Draw a lab, or what a lab file comes to: networks, machines, NICs and addresses. SVG is whole\n" +
			"and needs nothing else; Mermaid goes into Markdown, dot into Graphviz.",
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

// planOf gives the plan of a lab file, or of a lab that there is.
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
