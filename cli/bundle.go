package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) bundleCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bundle",
		Short: "Carry the software of labs to machines without a network",
		Long: "Write everything that labs require into one file, and read it on machines without a network, a\n" +
			"registry or a compiler. A bundle is for the netlab that wrote it: take both along.",
		Example: "  netlab bundle create scenarios/quickstart.yaml -o lab.bundle\n  netlab up --offline --bundle lab.bundle scenarios/quickstart.yaml",
	}
	c.AddCommand(a.bundleCreate(), a.bundleInspect(), a.bundleVerify(), a.bundleImport())
	return c
}

func (a *app) bundleCreate() *cobra.Command {
	c := &cobra.Command{Use: "create FILE...", Short: "Write what labs require into a bundle; what the cache lacks is obtained first", Args: between(1, many)}
	to := c.Flags().StringP("output", "o", "lab.bundle", "the bundle to write")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		_, sets, err := a.resolveAll(args)
		if err != nil {
			return err
		}
		shown := a.progress()
		index, size, err := a.engine.CreateBundle(cmd.Context(), sets, buildVersion().Version, *to, shown)
		took := shown.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "%s: %d entries, %s (%s uncompressed), for %s (%s)\n", *to, len(index.Entries), megabytes(size), megabytes(index.Bytes),
			strings.Join(index.Labs, ", "), elapsed(took))
		return nil
	}
	return c
}

func (a *app) bundleInspect() *cobra.Command {
	c := &cobra.Command{Use: "inspect BUNDLE", Short: "List what a bundle holds", Args: between(1, 1)}
	output := outputFlag(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		index, size, err := a.engine.Bundle(args[0])
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, index)
		}
		fmt.Fprintf(a.stdout, "written by netlab %s for %s\nlabs: %s\n%s; %s uncompressed, of which entries share parts\n\n",
			index.Netlab, index.Platform, strings.Join(index.Labs, ", "), megabytes(size), megabytes(index.Bytes))
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ENTRY\tFROM\tSIZE\tDIGEST")
		for _, e := range index.Entries {
			_, digest, _ := strings.Cut(e.Digest, ":")
			fmt.Fprintf(w, "%s\t%s\t%s\t%.12s\n", e.What, e.From, megabytes(e.Bytes), digest)
		}
		return w.Flush()
	}
	return c
}

func (a *app) bundleVerify() *cobra.Command {
	return &cobra.Command{Use: "verify BUNDLE", Short: "Read a bundle to its end and compare it with its digests", Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			began := time.Now()
			index, err := a.engine.VerifyBundle(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s: %d entries, %s uncompressed, whole and unchanged (%s)\n", args[0], len(index.Entries), megabytes(index.Bytes), elapsed(time.Since(began)))
			return nil
		}}
}

func (a *app) bundleImport() *cobra.Command {
	return &cobra.Command{Use: "import BUNDLE", Short: "Put what a bundle holds into the cache", Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			shown := a.progress()
			index, added, err := a.engine.ImportBundle(cmd.Context(), args[0], shown)
			took := shown.Close()
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s: %d of %d entries were new (%s)\n", args[0], added, len(index.Entries), elapsed(took))
			return nil
		}}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
