package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/verify/run"
)

type upFlags struct {
	report   reportFlags
	noVerify *bool
}

func (a *app) upCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "up FILE",
		Short: "Make a lab run as its file says, and verify every path",
		Long: "Make a lab run as its file says, and verify every communication path. What runs already\n" +
			"stays: only what differs from the file is made, changed or removed. An `up` that failed or\n" +
			"was stopped goes on from there.",
		Example: "  netlab up scenarios/quickstart.yaml",
		Args:    cobra.ExactArgs(1),
	}
	var flags upFlags
	flags.report = newReportFlags(c)
	flags.noVerify = c.Flags().Bool("no-verify", false, "do not verify the paths")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.up(cmd.Context(), args[0], flags) }
	return c
}

func (a *app) up(ctx context.Context, file string, flags upFlags) error {
	set, err := a.resolve(file)
	if err != nil {
		return err
	}
	plan := set.Plan
	provider := a.providers[plan.Provider]
	cache, err := a.softwareFor(plan)
	if err != nil {
		return err
	}
	if err := a.missing(ctx, cache, set); err != nil {
		return err
	}
	release, err := a.root.Lock(plan.Lab, false)
	if err != nil {
		return err
	}
	defer release()
	state, err := a.root.Read(plan.Lab)
	known := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !known {
		if err := a.refuseStranger(plan.Lab); err != nil {
			return err
		}
	}
	changes, err := a.changesTo(state, plan)
	if err != nil {
		return err
	}
	if known && state.Phase == providers.PhaseUp && changes.None() && providers.Healthy(ctx, provider, state, a.root.Dir(plan.Lab)) == nil {
		fmt.Fprintf(a.stdout, "lab %s is up and as %s says: nothing to do\n", plan.Lab, file)
		if flags.report.toFiles() {
			fmt.Fprintf(a.stderr, "no report was written: `netlab verify %s` verifies again, and writes one\n", plan.Lab)
		}
		return nil
	}
	shown := a.progress()
	stopped := func(err error) error {
		shown.Close()
		return err
	}
	for _, notice := range set.Notices() {
		shown.Note(painterFor(a.stderr).warn("note: ") + notice)
	}
	if known {
		for _, line := range changes.Lines() {
			shown.Note(line)
		}
		if len(changes.Remake) == 0 && state.Phase != providers.PhaseDeleting {
			cache.Before = state.Artifacts
		} else {
			done := shown.Step("remove the old cluster")
			err := providers.Down(ctx, a.root, a.providers[state.Plan.Provider], plan.Lab)
			done(err)
			if err != nil {
				return stopped(err)
			}
		}
	}
	obtained, err := cache.Obtain(ctx, set, shown.Step)
	if err != nil {
		return stopped(err)
	}
	rendered, err := set.Render(obtained)
	if err != nil {
		return stopped(err)
	}
	absolute, err := filepath.Abs(file)
	if err != nil {
		return stopped(err)
	}
	options, err := verifyOptions(set, obtained)
	if err != nil {
		return stopped(err)
	}
	running, err := providers.Up(ctx, a.root, provider, providers.Request{Plan: plan, Artifacts: obtained, Step: shown.Step}, rendered, absolute,
		func(ctx context.Context, running providers.Running) error {
			if *flags.noVerify {
				return nil
			}
			return run.Prepare(ctx, running, options)
		})
	if err != nil {
		return stopped(a.cutOff(ctx, err, fmt.Sprintf("`netlab up %s` goes on from here, `netlab down %s` removes it", file, plan.Lab)))
	}
	if *flags.noVerify {
		a.said(shown.Close(), running)
		return nil
	}
	options.Evidence = flags.report.evidence()
	done := shown.Step("verify every path")
	report, err := run.Run(ctx, running, options)
	done(err)
	if err != nil {
		return stopped(err)
	}
	a.said(shown.Close(), running)
	return a.report(a.subject(report, set, absolute), flags.report, false)
}

// said tells where the lab is, once it is up.
func (a *app) said(took time.Duration, running providers.Running) {
	if err := a.remerge(running.Plan.Lab); err != nil {
		fmt.Fprintf(a.stderr, "%s %v\n", painterFor(a.stderr).warn("note:"), err)
	}
	fmt.Fprintf(a.stderr, "lab %s is up (%s)\n  kubectl: netlab kubectl %s -- get pods -A\n  shell:   netlab shell %s %s\n  remove:  netlab down %s\n",
		running.Plan.Lab, elapsed(took), running.Plan.Lab, running.Plan.Lab, running.Plan.Machines[len(running.Plan.Machines)-1].Name, running.Plan.Lab)
}

func (a *app) downCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "down LAB|FILE|--all",
		Short: "Remove a lab and everything it made",
		Long: "Remove a lab and everything it made: namespaces, links, mounts, cgroups, processes, files.\n" +
			"It works without the lab's state too, and twice.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all != (len(args) == 0) {
				return usageError(cmd, errors.New("name a lab or a lab file, or give --all"))
			}
			if !all {
				lab, err := a.labNamed(args[0])
				if err != nil {
					return err
				}
				return a.down(cmd.Context(), lab)
			}
			all, err := a.allLabs()
			for _, lab := range all {
				err = errors.Join(err, a.down(cmd.Context(), lab))
			}
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "remove every lab of this machine")
	return c
}

func (a *app) down(ctx context.Context, lab labs.Name) error {
	began := time.Now()
	release, err := a.root.Lock(lab, false)
	if err != nil {
		return err
	}
	defer release()
	// Without its state nobody knows who made the lab: each looks for what it may have made.
	// What a lab's links say of other machines only libvirt reads, so it comes before those that
	// remove them, and they wait until it has done its part.
	makers := []providers.Provider{a.providers["libvirt"], a.providers["kind"], a.providers["netns"]}
	there := true
	if state, err := a.root.Read(lab); err == nil {
		makers = []providers.Provider{a.providers[state.Plan.Provider]}
	} else if _, err := os.Stat(a.root.Dir(lab)); err != nil {
		if local.Guest(local.GuestsDir, lab) {
			return refuseGuest(lab)
		}
		left, err := a.allLabs()
		there = err == nil && slices.Contains(left, lab)
	}
	err = a.unmerge(lab)
	for _, p := range makers {
		if left := providers.Down(ctx, a.root, p, lab); left != nil {
			return errors.Join(err, left)
		}
	}
	if err != nil {
		return err
	}
	if !there {
		fmt.Fprintf(a.stdout, "there is no lab %s, and nothing of one\n", lab)
		return nil
	}
	fmt.Fprintf(a.stdout, "lab %s is gone (%s)\n", lab, elapsed(time.Since(began)))
	return nil
}

// refuseStranger gives an error when parts of a lab of this name run that our state
// directory knows nothing of: another state directory's lab, or one whose state was lost.
func (a *app) refuseStranger(lab labs.Name) error {
	names, err := a.allLabs()
	switch {
	case local.Guest(local.GuestsDir, lab):
		return refuseGuest(lab)
	case err != nil || !slices.Contains(names, lab):
		return err
	}
	return hint.With(fmt.Errorf("parts of a lab %s run on this machine, and %s holds no state of it", lab, a.root),
		fmt.Sprintf("`netlab down %s` removes them; or give the lab another name, or NETLAB_STATE_DIR its own directory", lab))
}

// refuseGuest tells that a lab is another machine's, which has Nodes here.
func refuseGuest(lab labs.Name) error {
	return hint.With(fmt.Errorf("lab %s is another machine's, and has Nodes on this one's hypervisor", lab),
		fmt.Sprintf("`netlab down %s` on that machine removes it; if that machine is no more, remove %s first; a lab of your own takes another name",
			lab, filepath.Join(local.GuestsDir, lab.Label())))
}

// allLabs names every lab of this machine, by state and by label. Those of other machines
// that have Nodes here are not among them.
func (a *app) allLabs() ([]labs.Name, error) {
	names, err := a.root.Labs()
	for _, p := range a.providers {
		if finder, ok := p.(providers.Finder); ok {
			found, ferr := finder.Find()
			found = slices.DeleteFunc(found, func(lab labs.Name) bool { return local.Guest(local.GuestsDir, lab) })
			names, err = append(names, found...), errors.Join(err, ferr)
		}
	}
	slices.SortFunc(names, func(a, b labs.Name) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(names), err
}
