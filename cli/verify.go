package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/verify/checks"
)

func (a *app) verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify [LAB]",
		Short: "Verify every communication path of a lab that runs",
		Long: "Verify every communication path of a lab that runs. Exit status 0: every path did what is\n" +
			"expected of it; 1: one failed, or its probe could not run.\n\n" +
			"--html writes a page to look at and to hand on. It captures as --evidence does, so that each\n" +
			"path can be shown hop by hop; what is printed stays as short as without it.\n\n" +
			"--throughput and --latency measure as well, which takes minutes: by default all routes, of\n" +
			strings.Join(checks.Routes(), ", ") + ".",
		Example: "  netlab verify -o matrix\n  netlab verify quickstart --junit junit.xml --tap paths.tap\n" +
			"  netlab verify quickstart --html report.html\n" +
			"  netlab verify quickstart --throughput=pod-cross-node,clusterip --latency\n" +
			"  netlab verify quickstart --throughput -o benchfmt >new.txt",
		Args: between(0, 1),
	}
	flags := newReportFlags(c, formatBenchfmt)
	throughput := routesFlag(c, "throughput", "measure with iperf3 too, over these `routes`")
	latency := routesFlag(c, "latency", "measure small requests too, over these `routes`")
	evidence := c.Flags().Bool("evidence", false, "tell of every path, not only of those that fail, how its packets went")
	pcap := c.Flags().String("pcap", "", "write the packets of every path to a file in this `directory`")
	offer(c, "pcap", directories)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		lab, err := a.lab(args)
		if err != nil {
			return err
		}
		options := engine.VerifyOptions{Pcap: *pcap}
		if options.Throughput, err = routes(cmd, *throughput); err != nil {
			return err
		}
		if options.Latency, err = routes(cmd, *latency); err != nil {
			return err
		}
		if *flags.output == formatBenchfmt && len(options.Throughput)+len(options.Latency) == 0 {
			return usageError(cmd, errors.New("-o benchfmt requires --throughput or --latency"))
		}
		asked := *evidence || *pcap != ""
		options.Evidence = asked || flags.evidence()
		shown := a.progress()
		verified, err := a.engine.Verify(cmd.Context(), lab, options, shown)
		shown.Close()
		if err != nil {
			return err
		}
		return a.report(a.subject(verified.Report, verified.Set, verified.File), flags, asked)
	}
	return c
}

// routesFlag gives a verb a flag that lists routes; without a value it means all of them.
func routesFlag(c *cobra.Command, name, usage string) *[]string {
	list := c.Flags().StringSlice(name, nil, usage)
	c.Flags().Lookup(name).NoOptDefVal = allRoutes
	offer(c, name, completeRoutes)
	return list
}

const allRoutes = "all"

// routes checks the routes that a flag names.
func routes(cmd *cobra.Command, names []string) ([]string, error) {
	if slices.Equal(names, []string{allRoutes}) {
		return checks.Routes(), nil
	}
	for _, name := range names {
		if !slices.Contains(checks.Routes(), name) {
			return nil, usageError(cmd, fmt.Errorf("%q is no route; there are %s", name, strings.Join(checks.Routes(), ", ")))
		}
	}
	return names, nil
}
