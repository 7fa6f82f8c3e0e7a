package cli

import (
	"context"
	"fmt"
	"regexp"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

func (a *app) snapshotCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Save a lab of virtual machines as it is, and put it back",
		Long: "Save a lab of virtual machines as it is, memory and disks of all Nodes at one moment, and\n" +
			"put it back in seconds. The snapshots of a lab go with it.",
		Example: "  netlab snapshot save virtual-machines fresh\n  netlab snapshot restore virtual-machines fresh",
	}
	c.AddCommand(
		&cobra.Command{Use: "save LAB NAME", Short: "Keep a lab that runs under a name", Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.snapshot(cmd.Context(), args[0], args[1], "saved", providers.Snapshotter.Save)
			}},
		&cobra.Command{Use: "restore LAB NAME", Short: "Put a lab back to a snapshot", Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.snapshot(cmd.Context(), args[0], args[1], "restored", providers.Snapshotter.Restore)
			}},
		a.snapshotList(),
	)
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
	return c
}

// snapshotName is a file's name of the state directory.
var snapshotName = regexp.MustCompile(`^[a-zA-Z0-9][-_.a-zA-Z0-9]{0,62}$`)

// snapshot does something with a snapshot of a lab that nobody else changes meanwhile.
func (a *app) snapshot(ctx context.Context, lab, name, done string,
	act func(providers.Snapshotter, context.Context, topology.Plan, string, string) error) error {
	if !snapshotName.MatchString(name) {
		return hint.With(fmt.Errorf("%q is no name of a snapshot", name), "letters, digits, -, _ and . in between, 63 at most")
	}
	s, state, err := a.snapshotter(lab)
	if err != nil {
		return err
	}
	release, err := a.root.Lock(state.Plan.Lab, false)
	if err != nil {
		return err
	}
	defer release()
	began := time.Now()
	if err := act(s, ctx, state.Plan, a.root.Dir(state.Plan.Lab), name); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "lab %s: snapshot %s is %s (%s)\n", state.Plan.Lab, name, done, elapsed(time.Since(began)))
	return nil
}

func (a *app) snapshotter(lab string) (providers.Snapshotter, providers.State, error) {
	name, err := a.labNamed(lab)
	if err != nil {
		return nil, providers.State{}, err
	}
	state, err := a.root.Read(name)
	if err != nil {
		return nil, state, hint.With(fmt.Errorf("there is no lab %q", name), "`netlab list` names the labs")
	}
	s, ok := a.providers[state.Plan.Provider].(providers.Snapshotter)
	if !ok {
		return nil, state, hint.With(fmt.Errorf("lab %s is of provider %s, which keeps no snapshots", name, state.Plan.Provider), "provider libvirt does")
	}
	return s, state, nil
}

func (a *app) snapshotList() *cobra.Command {
	c := &cobra.Command{Use: "list LAB", Short: "List a lab's snapshots", Args: cobra.ExactArgs(1)}
	output := outputFlag(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		s, state, err := a.snapshotter(args[0])
		if err != nil {
			return err
		}
		all, err := s.Snapshots(a.root.Dir(state.Plan.Lab))
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, append([]providers.Snapshot{}, all...))
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "SNAPSHOT\tAGE\tMEMORY")
		for _, s := range all {
			fmt.Fprintf(w, "%s\t%s\t%d MB\n", s.Name, time.Since(s.Created).Round(time.Second), s.Bytes/1e6)
		}
		return w.Flush()
	}
	return c
}
