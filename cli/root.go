package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/hint"
)

// Main runs netlab with its arguments (without the program's name) and returns the
// exit code. The result goes to stdout, progress and errors to stderr.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if code, played := Play(args, stdin, stdout, stderr); played {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once

	// A reader that has gone away (`netlab up lab.yaml | head`) does not stop a verb half-way:
	// writes to it fail. Programs that netlab runs get the default action again.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	a, err := newApp(stdin, stdout, stderr)
	if err != nil {
		return printError(stderr, painterFor(stderr), err)
	}
	root := a.rootCommand()
	root.SetArgs(args)
	return printError(stderr, painterFor(stderr), root.ExecuteContext(ctx))
}

// rootCommand is the table of verbs, in the order that help shows.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "netlab",
		Short: "A real Kubernetes cluster and its networks from one file, every path verified",
		Long: "A real Kubernetes cluster and its networks from one file, every path verified.\n\n" +
			"  netlab up scenarios/quickstart.yaml   create the lab and verify it\n" +
			"  netlab down quickstart                remove it\n\n" +
			"Exit codes: 0 all paths as expected; 1 a path failed or could not be probed;\n" +
			"2 any other error: the lab file, the usage or the machine.",
		SilenceErrors: true, // printError prints them
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // RunE reports unknown verbs
	}
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		todo := "`netlab --help` lists the commands"
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			todo = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return hint.With(fmt.Errorf("unknown command %q", args[0]), todo)
	}
	root.SuggestionsMinimumDistance = 2
	cobra.EnableCommandSorting = false
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(usageError)
	root.AddCommand(
		a.upCommand(),
		a.planCommand(),
		a.graphCommand(),
		a.verifyCommand(),
		a.compareCommand(),
		a.traceCommand(),
		a.statusCommand(),
		a.listCommand(),
		a.execCommand(),
		a.shellCommand(),
		a.kubectlCommand(),
		a.kubeconfigCommand(),
		a.loadCommand(),
		a.logsCommand(),
		a.powerCommand(),
		a.linkCommand(),
		a.stopCommand(),
		a.startCommand(),
		a.snapshotCommand(),
		a.exerciseCommand(),
		a.downCommand(),
		a.doctorCommand(),
		a.componentsCommand(),
		a.lockCommand(),
		a.buildCommand(),
		a.bundleCommand(),
		a.cacheCommand(),
		a.schemaCommand(),
		a.versionCommand(),
	)
	offline := root.PersistentFlags().Bool("offline", false, "contact nothing outside this machine: take software from the cache and bundles alone")
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) (err error) {
		if *offline {
			a.engine.Software.Sources = nil
		}
		for i := range args {
			if err == nil && (strings.Contains(cmd.Use, "FILE") || i == 0) {
				args[i], err = a.kept(args[i])
			}
		}
		return err
	}
	for _, cmd := range root.Commands() {
		if cmd.Args == nil {
			cmd.Args = between(0, 0)
		}
	}
	a.complete(root)
	return root
}
