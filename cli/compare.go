package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/engine"
)

func (a *app) compareCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "compare FILE...",
		Short: "Create, verify and remove several labs, and compare the results",
		Long: "Create, verify and remove several labs, one after another, and show side by side the result\n" +
			"of each path, how long each step took and how much memory the Nodes use. The files are labs,\n" +
			"or a Matrix that lists labs. If one of the labs already exists, nothing is created.",
		Example: "  netlab compare scenarios/cni-matrix.yaml\n  netlab compare scenarios/quickstart.yaml scenarios/calico-bgp.yaml -o json",
		Args:    between(1, many),
	}
	output := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		files, sets, err := a.resolveAll(args)
		if err != nil {
			return err
		}
		all, err := a.compare(cmd.Context(), files, sets)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			err = printJSON(a.stdout, all)
		} else {
			err = writeComparison(a.stdout, all)
		}
		for _, one := range all {
			if one.Error != "" {
				return errors.Join(err, fmt.Errorf("%s: %s", one.Lab, one.Error))
			}
			if one.Report.ExitCode() != 0 && err == nil {
				err = exitStatus{exitPath}
			}
		}
		return err
	}
	return c
}

// compare builds everything, then creates, verifies and removes one lab after another.
func (a *app) compare(ctx context.Context, files []string, sets []components.Set) ([]engine.Compared, error) {
	if err := a.engine.Strangers(files, sets); err != nil {
		return nil, err
	}
	shown := a.progress()
	err := a.engine.Prepare(ctx, sets, shown)
	shown.Close()
	if err != nil {
		return nil, err
	}
	var all []engine.Compared
	for i, set := range sets {
		fmt.Fprintf(a.stderr, "%s\n", painterFor(a.stderr).bold(fmt.Sprintf("lab %d of %d: %s", i+1, len(sets), set.Plan.Lab)))
		shown := a.progress()
		one, err := a.engine.Compare(ctx, files[i], set, shown)
		shown.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}
