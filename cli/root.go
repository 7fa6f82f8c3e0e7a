package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/hint"
)

// Main runs netlab with its arguments (without the program's name) and gives the
// exit code. The result goes to stdout, progress and errors to stderr.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if code, played := play(args, stdin, stdout, stderr); played {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once

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
			"  netlab up scenarios/quickstart.yaml   make the lab, verify it, show the evidence\n" +
			"  netlab down quickstart                leave nothing of it\n\n" +
			"Exit codes: 0 all is as expected; 1 a path failed or could not be probed;\n" +
			"2 the file, the usage or the machine is at fault.",
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // RunE tells of unknown verbs
	}
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		todo := "`netlab --help` lists them"
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			todo = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return hint.With(fmt.Errorf("unknown verb %q", args[0]), todo)
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
		a.stopCommand(),
		a.startCommand(),
		a.snapshotCommand(),
		a.downCommand(),
		a.doctorCommand(),
		a.componentsCommand(),
		a.buildCommand(),
		a.schemaCommand(),
		a.versionCommand(),
	)
	for _, cmd := range root.Commands() {
		checkArgs(cmd)
	}
	a.complete(root)
	return root
}

// checkArgs makes a verb's complaint about its arguments a usage error with a hint.
func checkArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		err := fmt.Errorf("%s does not go with %d arguments", cmd.Name(), len(args))
		if len(args) == 0 {
			err = errors.New(cmd.Name() + " wants an argument")
		}
		return usageError(cmd, err)
	}
}

// usageError adds how the verb is used.
func usageError(cmd *cobra.Command, err error) error {
	return hint.With(err, fmt.Sprintf("usage: %s; more with --help", strings.TrimSuffix(cmd.UseLine(), " [flags]")))
}

// format is the value of -o: how a result is printed.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"

	formatBenchfmt format = "benchfmt" // of measurements
)

// choice is a flag that takes one of a few formats.
type choice struct {
	value   *format
	allowed []format
}

func (c choice) String() string {
	if c.value == nil { // cobra asks the zero choice for its default
		return ""
	}
	return string(*c.value)
}

func (c choice) Type() string { return "format" }

func (c choice) Set(s string) error {
	if !slices.Contains(c.allowed, format(s)) {
		return errors.New("it is " + c.list())
	}
	*c.value = format(s)
	return nil
}

func (c choice) words() []string {
	words := make([]string, len(c.allowed))
	for i, f := range c.allowed {
		words[i] = string(f)
	}
	return words
}

func (c choice) list() string {
	words := c.words()
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// outputFlag gives a verb its -o, for text, JSON and what else it can print.
func outputFlag(cmd *cobra.Command, more ...format) *format {
	return formatFlag(cmd, append([]format{formatText, formatJSON}, more...)...)
}

// formatFlag gives a verb a -o for some formats; the first is the default.
func formatFlag(cmd *cobra.Command, allowed ...format) *format {
	value := allowed[0]
	c := choice{&value, allowed}
	cmd.Flags().VarP(c, "output", "o", "print the result as "+c.list())
	offer(cmd, "output", func(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
		return beginning(start, c.words()), cobra.ShellCompDirectiveNoFileComp
	})
	return &value
}
