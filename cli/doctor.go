package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/engine"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [FILE]",
		Short: "Check prerequisites and print fixes",
		Long: "Check what this machine needs for a lab and print fixes: for the file's lab, or for the\n" +
			"default one. Exit code 2 when something is missing.",
		Args: between(0, 1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := a.engine.Default()
		if len(args) > 0 {
			set, err = a.resolve(args[0])
		}
		if err != nil {
			return err
		}
		found, err := a.engine.Doctor(cmd.Context(), set)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			err = printJSON(a.stdout, found)
		} else {
			a.printUnmet(found)
		}
		if err == nil && slices.ContainsFunc(found, func(u engine.Unmet) bool { return u.Mode == "" }) {
			return exitStatus{exitFault}
		}
		return err
	}
	return cmd
}

func (a *app) printUnmet(found []engine.Unmet) {
	paint := painterFor(a.stdout)
	ready := true
	for _, u := range found {
		mark := paint.warn("–")
		if u.Mode == "" {
			mark, ready = paint.bad("✗"), false
		}
		fmt.Fprintf(a.stdout, "%s %s\n", mark, u.What)
		for _, m := range u.Mend {
			fmt.Fprintf(a.stdout, "  %s\n", m)
		}
	}
	if ready {
		fmt.Fprintf(a.stdout, "%s this machine meets all prerequisites of the lab\n", paint.good("✓"))
	}
}
