package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/labs"
)

func (a *app) downCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "down LAB|FILE|--all",
		Short: "Remove a lab and everything it made",
		Long: "Remove a lab and everything it made: namespaces, links, mounts, cgroups, processes, files.\n" +
			"It works without the lab's state too, and can be repeated.",
		Args: between(0, 1),
	}
	c.Flags().BoolVar(&all, "all", false, "remove every lab of this machine but those of another NETLAB_STATE_DIR")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if all != (len(args) == 0) {
			return usageError(cmd, errors.New("down requires a lab, a lab file or --all"))
		}
		if !all {
			lab, err := a.lab(args)
			if err != nil {
				return err
			}
			return a.down(cmd.Context(), lab)
		}
		found, err := a.engine.Labs()
		for _, s := range found {
			if s.Elsewhere() {
				fmt.Fprintf(a.stderr, "lab %s stays: it belongs to the state directory %s\n", s.Lab, s.File)
				continue
			}
			err = errors.Join(err, a.down(cmd.Context(), s.Lab))
		}
		return err
	}
	return c
}

func (a *app) down(ctx context.Context, lab labs.Name) error {
	began := time.Now()
	result, err := a.engine.Down(ctx, lab)
	a.unmerged(lab, result.Unmerged)
	switch {
	case err != nil:
		return err
	case !result.Found:
		fmt.Fprintf(a.stdout, "lab %s not found; nothing to remove\n", lab)
	default:
		fmt.Fprintf(a.stdout, "lab %s removed (%s)\n", lab, elapsed(time.Since(began)))
	}
	return nil
}

// unmerged prints the kubeconfigs that a lab was removed from.
func (a *app) unmerged(lab labs.Name, files []string) {
	for _, file := range files {
		fmt.Fprintf(a.stderr, "removed lab %s from %s\n", lab, file)
	}
}
