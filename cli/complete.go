package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/run"
)

// complete adds shell completion to the verbs' arguments.
func (a *app) complete(root *cobra.Command) {
	files := func(extensions ...string) cobra.CompletionFunc {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return extensions, cobra.ShellCompDirectiveFilterFileExt
		}
	}
	names := func(of func() []string) cobra.CompletionFunc {
		return func(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
			return beginning(start, of()), cobra.ShellCompDirectiveNoFileComp
		}
	}
	labFile, archive := files("yaml", "yml"), files("tar")
	labNames := names(func() []string { known, _ := a.engine.Root.Labs(); return texts(known) })
	// For verbs that accept orphaned labs and lab files too: the shell offers files if no
	// lab has this prefix.
	labOrFile := func(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
		known, _ := a.engine.All()
		return beginning(start, texts(known)), cobra.ShellCompDirectiveDefault
	}
	machines := func(_ *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		return beginning(start, a.machineNames(args[0])), cobra.ShellCompDirectiveNoFileComp
	}

	verbs := map[string][]cobra.CompletionFunc{ // by argument
		"up": {labFile}, "plan": {labFile}, "doctor": {labFile},
		"graph": {labOrFile}, "down": {labOrFile},
		"verify": {labNames}, "status": {labNames}, "kubectl": {labNames}, "kubeconfig": {labNames}, "stop": {labNames}, "start": {labNames},
		"exec": {labNames, machines}, "shell": {labNames, machines}, "logs": {labNames, machines},
		"load": {labNames, archive}, "trace": {labNames, a.traceEnds, a.traceEnds},
	}
	nics := func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		offered, then := a.nicNames(args[0]), cobra.ShellCompDirectiveNoFileComp
		if cmd.Name() == "impair" {
			offered = impairing(offered, args[1:])
			if len(args) > 1 { // the value follows =
				then |= cobra.ShellCompDirectiveNoSpace
			}
		}
		return beginning(start, offered), then
	}
	verbs["power"], verbs["link"] = []cobra.CompletionFunc{labNames}, []cobra.CompletionFunc{labNames}
	endless := map[string]cobra.CompletionFunc{"build": labFile, "lock": labFile, "compare": files("yaml", "yml", "json"), "power": machines, "link": nics}
	all := root.Commands()
	for _, verb := range all {
		if endless[verb.Name()] != nil {
			all = append(all, verb.Commands()...) // off, on; down, up, impair
		}
	}
	for _, verb := range all {
		of := verb.Name()
		if verb.Parent() != root {
			of = verb.Parent().Name()
		} else if verb.HasSubCommands() {
			continue
		}
		byArgument, more := verbs[of], endless[of]
		verb.ValidArgsFunction = func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
			switch {
			case len(args) < len(byArgument):
				return byArgument[len(args)](cmd, args, start)
			case more != nil:
				return more(cmd, args, start)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
}

// beginning returns the names that have the typed prefix.
func beginning(start string, names []string) []string {
	var out []string
	for _, n := range names {
		if strings.HasPrefix(n, start) {
			out = append(out, n)
		}
	}
	return out
}

func texts(names []labs.Name) []string {
	var out []string
	for _, n := range names {
		out = append(out, n.String())
	}
	return out
}

// stateNamed reads the state of the lab that was typed.
func (a *app) stateNamed(arg string) (providers.State, error) {
	lab, err := parseLab(arg)
	if err != nil {
		return providers.State{}, err
	}
	return a.engine.Root.Read(lab)
}

func (a *app) machineNames(lab string) []string {
	state, err := a.stateNamed(lab)
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range state.Plan.Machines {
		names = append(names, m.Name)
	}
	return names
}

// nicNames lists the machines of a lab and their NICs, as MACHINE:NIC.
func (a *app) nicNames(lab string) []string {
	state, err := a.stateNamed(lab)
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range state.Plan.Machines {
		names = append(names, m.Name)
		for _, nic := range m.NICs {
			names = append(names, m.Name+":"+nic.Name)
		}
	}
	return names
}

// impairing lists what may follow machines, or settings, in the arguments of impair.
func impairing(nics, args []string) []string {
	var settings []string
	for _, field := range labs.ImpairmentFields() {
		settings = append(settings, field+"=")
	}
	switch {
	case len(args) == 0:
		return nics
	case slices.ContainsFunc(args, isSetting):
		return settings
	}
	return slices.Concat(nics, settings, []string{labs.NoImpairment})
}

// traceEnds completes where a trace of a lab may start, and then where it may end.
func (a *app) traceEnds(_ *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	state, err := a.stateNamed(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := run.TraceTo(state.Plan)
	if len(args) == 1 {
		names = run.TraceFrom(state.Plan)
	}
	return beginning(start, names), cobra.ShellCompDirectiveNoFileComp
}

// completeRoutes and completePaths complete the last of a comma-separated list.
func completeRoutes(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	return lastOf(start, checks.Routes()), cobra.ShellCompDirectiveNoFileComp
}

func completePaths(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	return lastOf(start, checks.Paths()), cobra.ShellCompDirectiveNoFileComp
}

func lastOf(start string, names []string) []string {
	before := start[:strings.LastIndex(start, ",")+1]
	var out []string
	for _, r := range names {
		if !strings.Contains(","+before, ","+r+",") {
			out = append(out, before+r)
		}
	}
	return beginning(start, out)
}

// directories completes directories.
func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// offer adds shell completion to a flag of a verb.
func offer(c *cobra.Command, name string, complete cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(name, complete); err != nil {
		panic(err) // a programming error: no such flag, or registered twice; every test runs into it
	}
}
