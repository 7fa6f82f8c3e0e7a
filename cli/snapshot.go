package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
)

func (a *app) snapshotCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Save and restore the state of a lab",
		Long: "Save the disks of all Nodes at one moment, and of virtual machines their memory too, and restore\n" +
			"them: what was changed in the cluster and on the Nodes since is gone. Nodes without saved memory\n" +
			"are started again, as after a power failure. Removing the lab removes its snapshots.",
		Example: "  netlab snapshot save quickstart fresh\n  netlab snapshot restore quickstart fresh",
	}
	c.AddCommand(
		&cobra.Command{Use: "save LAB NAME", Short: "Save a running lab under a name", Args: between(2, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.snapshot(cmd.Context(), args, "saved", a.engine.Save)
			}},
		&cobra.Command{Use: "restore LAB NAME", Short: "Restore a lab from a snapshot", Args: between(2, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.snapshot(cmd.Context(), args, "restored", func(ctx context.Context, lab labs.Name, name string) error {
					shown := a.progress()
					defer shown.Close()
					return a.engine.Restore(ctx, lab, name, shown)
				})
			}},
		a.snapshotList(),
	)
	return c
}

func (a *app) snapshot(ctx context.Context, args []string, done string, act func(context.Context, labs.Name, string) error) error {
	lab, err := a.lab(args[:1])
	if err != nil {
		return err
	}
	began := time.Now()
	if err := act(ctx, lab, args[1]); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "lab %s: snapshot %s %s (%s)\n", lab, args[1], done, elapsed(time.Since(began)))
	return nil
}

func (a *app) snapshotList() *cobra.Command {
	c := &cobra.Command{Use: "list LAB", Short: "List a lab's snapshots", Args: between(1, 1)}
	output := outputFlag(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		lab, err := a.lab(args)
		if err != nil {
			return err
		}
		all, err := a.engine.Snapshots(lab)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, append([]providers.Snapshot{}, all...))
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "SNAPSHOT\tAGE\tSIZE")
		for _, s := range all {
			fmt.Fprintf(w, "%s\t%s\t%d MB\n", s.Name, time.Since(s.Created).Round(time.Second), s.Bytes/1e6)
		}
		return w.Flush()
	}
	return c
}
