package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
)

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop [LAB]",
		Short: "End what of a lab runs, and keep the lab",
		Long: "End what of a lab runs, in order: kubelets, containers, Nodes, outside hosts, networks. The\n" +
			"Nodes keep their disks: `netlab start` brings the lab back as it was, with its addresses,\n" +
			"its Pods and its kubeconfig.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(args, func(state providers.State, p providers.Provider) error {
				lab := state.Plan.Lab
				if state.Phase == providers.PhaseStopped {
					fmt.Fprintf(a.stdout, "lab %s is stopped already\n", lab)
					return nil
				}
				began := time.Now()
				if err := providers.Stop(cmd.Context(), a.root, p, lab); err != nil {
					return a.cutOff(cmd.Context(), err, fmt.Sprintf("`netlab stop %s` goes on from here, `netlab start %s` turns back", lab, lab))
				}
				fmt.Fprintf(a.stdout, "lab %s is stopped (%s)\n", lab, elapsed(time.Since(began)))
				return nil
			})
		},
	}
}

func (a *app) startCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start [LAB]",
		Short: "Run a stopped lab again",
		Long: "Run a lab again that was stopped, or whose machine was: as it was made, whatever its file\n" +
			"says now. It ends when every Node and the cluster's own Pods are ready; `netlab verify`\n" +
			"verifies the paths.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(args, func(state providers.State, p providers.Provider) error {
				return a.start(cmd.Context(), state, p)
			})
		},
	}
}

func (a *app) start(ctx context.Context, state providers.State, p providers.Provider) error {
	lab := state.Plan.Lab
	if providers.Healthy(ctx, p, state, a.root.Dir(lab)) == nil {
		fmt.Fprintf(a.stdout, "lab %s runs already\n", lab)
		return nil
	}
	if err := p.Check(ctx, state.Plan); err != nil {
		return err
	}
	shown := a.progress()
	running, err := providers.Start(ctx, a.root, p, lab, shown.Step)
	took := shown.Close()
	if err != nil {
		return a.cutOff(ctx, err, fmt.Sprintf("`netlab start %s` goes on from here, `netlab down %s` removes the lab", lab, lab))
	}
	a.said(took, running)
	return nil
}

// change runs what changes a lab that is there, with the lab locked.
func (a *app) change(args []string, act func(providers.State, providers.Provider) error) error {
	lab, err := a.lab(args)
	if err != nil {
		return err
	}
	release, err := a.root.Lock(lab, false)
	if err != nil {
		return err
	}
	defer release()
	state, err := a.root.Read(lab)
	if errors.Is(err, fs.ErrNotExist) {
		return a.noLab(lab)
	}
	if err != nil {
		return err
	}
	return act(state, a.providers[state.Plan.Provider])
}

// cutOff adds to an error how to go on or back. Of what Ctrl-C stopped nothing else is told.
func (a *app) cutOff(ctx context.Context, err error, todo string) error {
	if ctx.Err() != nil {
		err = errors.New("stopped")
	}
	return hint.With(err, todo)
}
