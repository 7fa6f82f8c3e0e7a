package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// lack is one thing that this machine does not have, as `doctor` shows it.
type lack struct {
	What string   `json:"what"`
	Mend []string `json:"mend,omitempty"`
	Mode string   `json:"mode,omitempty"` // what alone needs it, where the lab at hand does not
}

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [FILE]",
		Short: "Tell what this machine lacks for a lab, and how to mend it",
		Long: "Tell what this machine lacks for a lab, and how to mend it: for the file's lab, or for the\n" +
			"default one. Exit code 2 when something is missing.",
		Args: cobra.MaximumNArgs(1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := a.defaultSet()
		if len(args) > 0 {
			set, err = a.resolve(args[0])
		}
		if err != nil {
			return err
		}
		found, err := a.lacks(cmd, set)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			if err := printJSON(a.stdout, found); err != nil {
				return err
			}
		} else {
			a.printLacks(found)
		}
		if slices.ContainsFunc(found, func(l lack) bool { return l.Mode == "" }) {
			return exitStatus{exitFault}
		}
		return nil
	}
	return cmd
}

// defaultSet is that of the lab of an empty file.
func (a *app) defaultSet() (components.Set, error) {
	plan, err := topology.Build(labs.Default(labs.MustName("doctor"), a.known()))
	if err != nil {
		return components.Set{}, err
	}
	return a.catalog.Resolve(plan)
}

// missing is all that this machine lacks for a plan: tools of the builds, what the
// provider takes, and what modes need of the kernel.
func (a *app) missing(ctx context.Context, cache artifacts.Cache, set components.Set) error {
	provider := a.providers[set.Plan.Provider]
	all := append(cache.Missing(set), provider.Check(ctx, set.Plan))
	return errors.Join(append(all, kernelLacks(provider, set.Needs())...)...)
}

// kernelLacks gives those needs that the kernel does not meet, as errors with a Hint.
func kernelLacks(provider providers.Provider, needs []components.Need) (lacking []error) {
	shared, ok := provider.(providers.KernelSharer)
	if !ok {
		return nil
	}
	for _, n := range needs {
		if !shared.KernelHas(n.Option, n.Module) {
			lacking = append(lacking, n)
		}
	}
	return lacking
}

// lacks gives what is missing for a plan, and then what only other modes would miss.
func (a *app) lacks(cmd *cobra.Command, set components.Set) ([]lack, error) {
	cache, err := a.software()
	if err != nil {
		return nil, err
	}
	found := []lack{}
	if missing := a.missing(cmd.Context(), cache, set); missing != nil {
		for _, e := range joined(missing) {
			found = append(found, lack{What: e.Error(), Mend: hint.Of(e)})
		}
	}
	for _, e := range kernelLacks(a.providers[set.Plan.Provider], a.catalog.EveryNeed()) {
		l := lack{What: e.Error(), Mend: hint.Of(e), Mode: e.(components.Need).Mode()}
		if !slices.ContainsFunc(found, func(other lack) bool { return other.What == l.What }) {
			found = append(found, l)
		}
	}
	return found, nil
}

func (a *app) printLacks(found []lack) {
	paint := painterFor(a.stdout)
	lab := true
	for _, l := range found {
		mark := paint.warn("–")
		if l.Mode == "" {
			mark, lab = paint.bad("✗"), false
		}
		fmt.Fprintf(a.stdout, "%s %s\n", mark, l.What)
		for _, m := range l.Mend {
			fmt.Fprintf(a.stdout, "  %s\n", m)
		}
	}
	if lab {
		fmt.Fprintf(a.stdout, "%s this machine has all that the lab needs\n", paint.good("✓"))
	}
}

func (a *app) componentsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "components",
		Short: "List the software that labs are made of: pins, cache, origin, what our builds lack",
	}
	output := outputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		cache, err := a.software()
		if err != nil {
			return err
		}
		all, err := cache.Status(a.catalog)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return printJSON(a.stdout, all)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "COMPONENT\tVERSION\tKIND\tCACHED\tFROM\tMADE IN\tSIZE")
		for _, s := range all {
			cached, made, size := "no", "", ""
			if s.Cached {
				cached = "yes"
			}
			if len(s.From) > 0 {
				made, size = fmt.Sprintf("%.0fs", s.Seconds), fmt.Sprintf("%.0f MB", float64(s.Bytes)/1e6)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Version, s.Kind, cached, strings.Join(s.From, ", "), made, size)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, s := range all {
			for i, l := range s.Lacks {
				if i == 0 {
					fmt.Fprintf(a.stdout, "\n%s, as built here, lacks:\n", s.Name)
				}
				fmt.Fprintf(a.stdout, "  - %s\n", l)
			}
			if s.Notice != "" {
				fmt.Fprintf(a.stdout, "\nnote: %s\n", s.Notice)
			}
		}
		return nil
	}
	return cmd
}

func (a *app) buildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build FILE...",
		Short: "Build or fetch what labs need into the cache, and make nothing else",
		Long: "Build or fetch what labs need into the cache, and make nothing else: before a workshop, or\n" +
			"in a CI job of its own. `up` does the same when something is missing.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cache, err := a.software()
			if err != nil {
				return err
			}
			files, err := a.labFiles(args)
			if err != nil {
				return err
			}
			var sets []components.Set
			for _, file := range files {
				set, err := a.resolve(file)
				if err != nil {
					return err
				}
				if missing := errors.Join(cache.Missing(set)...); missing != nil {
					return hint.With(missing, "`netlab doctor` lists all that is missing")
				}
				sets = append(sets, set)
			}
			shown := a.progress()
			all, err := cache.ObtainAll(cmd.Context(), sets, shown.Step)
			if err != nil {
				shown.Close()
				return err
			}
			lacking := map[string]string{}
			for _, obtained := range all {
				maps.Copy(lacking, obtained.Lacking)
			}
			for _, ref := range slices.Sorted(maps.Keys(lacking)) {
				shown.Note(painterFor(a.stderr).warn("note: ") + "labs do without what is optional: " + lacking[ref])
			}
			fmt.Fprintf(a.stdout, "all of it is in %s (%s)\n", a.cache, elapsed(shown.Close()))
			return nil
		},
	}
}
