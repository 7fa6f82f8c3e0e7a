package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

type upFlags struct {
	report   reportFlags
	noVerify *bool
	remake   *bool
	bundle   *string // "" for none
}

func (a *app) upCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "up FILE",
		Short: "Create or update a lab from its file, and verify every path",
		Long: "Create a lab from its file, or update it to match the file, and verify every communication\n" +
			"path. Only what differs from the file is created, changed or removed, and what was deleted or\n" +
			"edited in the cluster is restored. What cannot be changed in a running cluster (its CNI,\n" +
			"CIDRs, control planes) recreates it: that is asked on a terminal and requires --remake\n" +
			"elsewhere. An `up` that failed or was interrupted continues where it stopped.",
		Example: "  netlab up scenarios/quickstart.yaml",
		Args:    between(1, 1),
	}
	var flags upFlags
	flags.report = newReportFlags(c)
	flags.noVerify = c.Flags().Bool("no-verify", false, "do not verify the paths")
	flags.remake = c.Flags().Bool("remake", false, "recreate the cluster if the file requires it, with all that is in it")
	flags.bundle = c.Flags().String("bundle", "", "import the lab's software from a bundle first")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.up(cmd.Context(), args[0], flags) }
	return c
}

func (a *app) up(ctx context.Context, file string, flags upFlags) error {
	set, err := a.resolve(file)
	if err != nil {
		return err
	}
	shown := a.progress()
	if *flags.bundle != "" {
		if _, _, err := a.engine.ImportBundle(ctx, *flags.bundle, shown); err != nil {
			shown.Close()
			return err
		}
	}
	made, err := a.engine.Up(ctx, set, engine.UpOptions{
		File: file, Verify: !*flags.noVerify, Evidence: flags.report.evidence(), Agree: a.agree(*flags.remake),
	}, shown)
	took := shown.Close()
	switch {
	case err != nil:
		return err
	case made.Unchanged:
		fmt.Fprintf(a.stdout, "lab %s is up and matches %s: nothing to do\n", set.Plan.Lab, file)
		if flags.report.toFiles() {
			fmt.Fprintf(a.stderr, "no report was written: run `netlab verify %s` to verify the lab and write one\n", set.Plan.Lab)
		}
		return nil
	}
	a.isUp(made.Running, took, made.Merge)
	if made.Report == nil {
		return nil
	}
	absolute, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	return a.report(a.subject(*made.Report, set, absolute), flags.report, false)
}

// agree answers whether a lab is replaced: yes with --remake, as the user says on a terminal, and
// no elsewhere.
func (a *app) agree(remake bool) func(topology.Changes) bool {
	if remake {
		return func(topology.Changes) bool { return true }
	}
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || width(a.stderr) == 0 {
		return nil
	}
	return func(changes topology.Changes) bool { // they were printed, line by line
		question := "continue?"
		if what := changes.Deletes(); what != "" {
			question = "continue, and delete " + what + "?"
		}
		fmt.Fprintf(a.stderr, "\n%s [y/N] ", question)
		answer, _ := bufio.NewReader(in).ReadString('\n')
		answer = strings.ToLower(strings.TrimSpace(answer))
		return answer == "y" || answer == "yes"
	}
}

// isUp prints how to use a lab that is up; merge is why a kubeconfig that it is merged into
// is out of date.
func (a *app) isUp(running providers.Running, took time.Duration, merge error) {
	if merge != nil {
		fmt.Fprintf(a.stderr, "%s %v\n", painterFor(a.stderr).warn("note:"), merge)
	}
	lab := running.Plan.Lab
	fmt.Fprintf(a.stderr, "lab %s is up (%s)\n  kubectl: netlab kubectl %s -- get pods -A\n  shell:   netlab shell %s %s\n  remove:  netlab down %s\n",
		lab, elapsed(took), lab, lab, running.Plan.Machines[len(running.Plan.Machines)-1].Name, lab)
}
