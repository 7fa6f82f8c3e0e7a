package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/engine"
)

func (a *app) powerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "power",
		Short: "Switch machines of a lab off and on",
		Long: "Switch Nodes and outside hosts off and on, as the power switch of a machine does: a machine\n" +
			"that is off is silent at once, nothing shuts down, and its disk stays. `netlab status` shows\n" +
			"which machines are off, `netlab up` starts all of them.",
		Example: "  netlab power off quickstart w1\n  netlab power on quickstart w1\n  netlab power cycle quickstart w1 w2",
	}
	for _, v := range []struct {
		to    engine.Power
		short string
	}{
		{engine.PowerOff, "Switch machines off"},
		{engine.PowerOn, "Switch machines on, with all their NICs plugged in"},
		{engine.PowerCycle, "Switch machines off and on again"},
	} {
		sub := &cobra.Command{Use: string(v.to) + " LAB MACHINE...", Short: v.short, Args: between(2, many)}
		output := outputFlag(sub)
		sub.RunE = func(cmd *cobra.Command, args []string) error {
			lab, err := a.lab(args[:1])
			if err != nil {
				return err
			}
			shown := a.progress()
			done, err := a.engine.Power(cmd.Context(), lab, args[1:], v.to, shown)
			shown.Close()
			if err != nil {
				return err
			}
			return a.switched(*output, done)
		}
		c.AddCommand(sub)
	}
	return c
}

func (a *app) linkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "link",
		Short: "Set links of a lab's machines down and up",
		Long: "Set the link of a NIC, or of all NICs of a machine, down or up at the switch: the machine\n" +
			"loses its carrier and keeps its addresses, as when a cable is pulled. `netlab status` shows\n" +
			"which links are down, `netlab up` sets all of them up.",
		Example: "  netlab link down quickstart w1:eth1\n  netlab link up quickstart w1",
	}
	for _, state := range []string{"down", "up"} {
		sub := &cobra.Command{Use: state + " LAB MACHINE[:NIC]...", Short: "Set links " + state, Args: between(2, many)}
		output := outputFlag(sub)
		sub.RunE = func(cmd *cobra.Command, args []string) error {
			lab, err := a.lab(args[:1])
			if err != nil {
				return err
			}
			done, err := a.engine.Link(cmd.Context(), lab, args[1:], state == "up")
			if err != nil {
				return err
			}
			return a.switched(*output, done)
		}
		c.AddCommand(sub)
	}
	return c
}

// switched prints what became of machines or links.
func (a *app) switched(output format, done []engine.Switched) error {
	if output == formatJSON {
		return printJSON(a.stdout, done)
	}
	for _, s := range done {
		what, already := s.Machine, ""
		if s.NIC != "" {
			what = "link of " + s.Machine + " " + s.NIC
		}
		if !s.Changed {
			already = "already "
		}
		fmt.Fprintf(a.stdout, "%s is %s%s\n", what, already, s.State)
	}
	return nil
}
