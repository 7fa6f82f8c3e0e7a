package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/labs"
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
		Short: "Set links of a lab's machines down and up, or impair them",
		Long: "Set the link of a NIC, or of all NICs of a machine, down or up at the switch: the machine\n" +
			"loses its carrier and keeps its addresses, as when a cable is pulled. Or impair it: packets\n" +
			"wait, are lost, or pass at a lower rate, in both directions. `netlab status` shows which links\n" +
			"are down or impaired, `netlab up` makes all of them what the lab file says.",
		Example: "  netlab link down quickstart w1:eth1\n  netlab link up quickstart w1\n  netlab link impair quickstart w1:eth0 rate=10Mbit",
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
	c.AddCommand(a.impairCommand())
	return c
}

func (a *app) impairCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "impair LAB MACHINE[:NIC]... SETTING...",
		Short: "Make links slow, late or lossy, or end that",
		Long: "Impair the link of a NIC, or of all NICs of a machine, in both directions. The settings replace\n" +
			"earlier ones:\n\n" +
			"  delay=20ms    that each packet waits, up to 5s\n" +
			"  jitter=2ms    by which that is shorter or longer, at most delay\n" +
			"  loss=0.5%     of packets, at random\n" +
			"  rate=10Mbit   64kbit to 100Gbit, with Ethernet headers\n" +
			"  none          the link is not impaired\n\n" +
			"A packet from one machine to another crosses the links of both. A rate works with every kernel;\n" +
			"delay, jitter and loss require CONFIG_NET_SCH_NETEM. `netlab up` undoes it; for links that are\n" +
			"always so, set networks[].impair in the lab file.",
		Example: "  netlab link impair quickstart w1:eth0 rate=10Mbit\n  netlab link impair quickstart w1 w2 delay=20ms jitter=2ms loss=0.5%\n  netlab link impair quickstart w1 none",
		Args:    between(3, many),
	}
	output := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		lab, err := a.lab(args[:1])
		if err != nil {
			return err
		}
		ends, settings := args[1:], []string(nil)
		at := slices.IndexFunc(ends, isSetting)
		if at < 0 {
			return usageError(cmd, fmt.Errorf("no setting: %s=… or %s expected", strings.Join(labs.ImpairmentFields(), "=…, "), labs.NoImpairment))
		}
		if ends, settings = ends[:at], ends[at:]; len(ends) == 0 {
			return usageError(cmd, errors.New("impair requires a machine before its settings"))
		}
		i, err := labs.ParseImpairment(settings)
		var problems labs.Problems
		if errors.As(err, &problems) { // of the command line, not of a file
			var all []error
			for _, p := range problems {
				all = append(all, p)
			}
			return errors.Join(all...)
		}
		done, err := a.engine.Impair(cmd.Context(), lab, ends, i)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, done)
		}
		for _, l := range done {
			already, how := "", "impaired: "+l.Impair.String()
			if !l.Changed {
				already = "already "
			}
			if l.Impair.None() {
				how = "unimpaired"
			}
			fmt.Fprintf(a.stdout, "link of %s %s is %s%s\n", l.Machine, l.NIC, already, how)
		}
		return nil
	}
	return c
}

// isSetting reports whether an argument of impair sets something; else it names a machine.
func isSetting(arg string) bool { return strings.Contains(arg, "=") || arg == labs.NoImpairment }

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
