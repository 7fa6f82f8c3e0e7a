package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify"
)

func (a *app) verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify [LAB]",
		Short: "Verify every communication path of a lab that runs",
		Long: "Verify every communication path of a lab that runs. Exit status 0: every path did what is\n" +
			"expected of it; 1: one failed, or its probe could not run.",
		Example: "  netlab verify -o matrix\n  netlab verify quickstart --junit junit.xml --tap paths.tap",
		Args:    cobra.MaximumNArgs(1),
	}
	flags := newReportFlags(c)
	evidence := c.Flags().Bool("evidence", false, "tell of every path, not only of those that fail, how its packets went")
	pcap := c.Flags().String("pcap", "", "write the packets of every path to a file in this `directory`")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		running, state, err := a.running(cmd.Context(), args)
		if err != nil {
			return err
		}
		if state.Phase != providers.PhaseUp {
			return providers.WithHint(fmt.Errorf("lab %s is not up: its phase is %q", state.Plan.Lab, state.Phase),
				fmt.Sprintf("`netlab up %s` goes on, and verifies", state.File))
		}
		check, err := a.check(running.Plan, state.Stock)
		if err != nil {
			return err
		}
		check.Evidence, check.Pcap = *evidence || *pcap != "", *pcap
		shown := a.progress()
		done := shown.Step("verify every path")
		report, err := verify.Run(cmd.Context(), running, check)
		done(err)
		shown.Close()
		if err != nil {
			return err
		}
		return a.report(report, flags)
	}
	return c
}

// check is what the verification has to know of the lab's components.
func (a *app) check(plan topology.Plan, stock components.Stock) (verify.Options, error) {
	parts, err := a.catalog.Resolve(plan)
	if err != nil {
		return verify.Options{}, err
	}
	support := a.catalog.Supports(plan)
	options := verify.Options{Support: support, Agent: stock.Agent}
	for _, part := range parts {
		if part.Name == plan.CNI.Name {
			options.CNIVersion = part.Version
		}
	}
	return options, nil
}
