package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/checks"
)

func (a *app) verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify [LAB]",
		Short: "Verify every communication path of a running lab",
		Long: "Verify every communication path of a running lab. Exit status 0: all paths are as expected;\n" +
			"1: a path failed or could not be probed.\n\n" +
			"verify.paths in the lab file are your own: what your workloads must reach, and must not.\n" +
			"--paths mine verifies only these, --suggest prints a list that asserts what is seen now.\n\n" +
			"--html writes a self-contained page. It captures packets as --evidence does, to show each\n" +
			"path hop by hop; the printed report stays short.\n\n" +
			"--throughput and --latency also measure, which takes minutes: by default over all routes,\n" +
			strings.Join(checks.Routes(), ", ") + ".\n\n" +
			"--failover switches machines off, one after the other and for a minute at most: the holder of a\n" +
			"VIP or gateway that hosts share, the Node that announces a VIP by ARP, a next hop of BGP. A client\n" +
			"asks a hundred times a second meanwhile. Then all are on again, and every path is verified.",
		Example: "  netlab verify -o matrix\n  netlab verify quickstart --junit junit.xml --tap paths.tap\n" +
			"  netlab verify quickstart --html report.html\n  netlab verify shop --paths mine\n" +
			"  netlab verify quickstart --throughput=pod-cross-node,clusterip --latency\n" +
			"  netlab verify quickstart --throughput -o benchfmt >new.txt",
		Args: between(0, 1),
	}
	flags := newReportFlags(c, formatBenchfmt)
	throughput := routesFlag(c, "throughput", "also measure throughput with iperf3, over these `routes`")
	latency := routesFlag(c, "latency", "also measure the latency of small requests, over these `routes`")
	evidence := c.Flags().Bool("evidence", false, "show where the packets of every path were seen, not only of those that fail")
	thorough := c.Flags().Bool("thorough", false, "also verify what takes up to minutes: a label that changes under a policy, backends that are replaced")
	failover := c.Flags().Bool("failover", false, "first switch off what carries VIPs and gateways, and measure how long clients get no answer")
	allPairs := c.Flags().Bool("all-pairs", false, "verify cross-Node paths between all pairs of Nodes: a lab of more than 16 Nodes takes a sample")
	paths := c.Flags().StringSlice("paths", nil, "verify only these paths, by `id`; "+checks.Mine+" are those of verify.paths in the lab file")
	offer(c, "paths", completePaths)
	suggest := c.Flags().Bool("suggest", false, "print the list of verify.paths that asserts what your workloads reach now")
	pcap := c.Flags().String("pcap", "", "write the packets of every path to a file in this `directory`")
	offer(c, "pcap", directories)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := aloneFlag(cmd, "suggest"); err != nil {
			return err
		}
		lab, err := a.lab(args)
		if err != nil {
			return err
		}
		options := engine.VerifyOptions{Pcap: *pcap, Failover: *failover, Extent: checks.Extent{Thorough: *thorough, AllPairs: *allPairs}}
		if *suggest {
			return a.suggest(cmd.Context(), lab)
		}
		if options.Extent.Only, err = pathIDs(cmd, *paths); err != nil {
			return err
		}
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

// aloneFlag refuses flags beside one with which the verb does something else.
func aloneFlag(cmd *cobra.Command, name string) error {
	var others []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != name {
			others = append(others, "--"+f.Name)
		}
	})
	if !cmd.Flags().Changed(name) || len(others) == 0 {
		return nil
	}
	return usageError(cmd, fmt.Errorf("--%s cannot be combined with %s: nothing is verified", name, strings.Join(others, ", ")))
}

// suggest prints the section of a lab file that asserts what is seen now.
func (a *app) suggest(ctx context.Context, lab labs.Name) error {
	shown := a.progress()
	all, err := a.engine.Suggest(ctx, lab, shown)
	shown.Close()
	if err != nil {
		return err
	}
	fmt.Fprint(a.stdout, "verify:\n  paths:\n")
	for _, s := range all {
		fmt.Fprintf(a.stdout, "    %s\n", s)
	}
	return nil
}

// pathIDs checks the ids of a flag, and replaces earlier ones.
func pathIDs(cmd *cobra.Command, names []string) (ids []string, err error) {
	for _, name := range names {
		c, ok := checks.Find(name)
		if !ok || c.Measurement != nil || c.Failover != nil {
			return nil, usageError(cmd, hint.With(fmt.Errorf("path %q not found", name), "ids: "+strings.Join(checks.Paths(), ", ")))
		}
		ids = append(ids, c.ID)
	}
	return ids, nil
}

// routesFlag adds to a verb a flag that lists routes; without a value it means all of them.
func routesFlag(c *cobra.Command, name, usage string) *[]string {
	list := c.Flags().StringSlice(name, nil, usage)
	c.Flags().Lookup(name).NoOptDefVal = allRoutes
	offer(c, name, completeRoutes)
	return list
}

const allRoutes = "all"

// routes checks the routes of a flag.
func routes(cmd *cobra.Command, names []string) ([]string, error) {
	if slices.Equal(names, []string{allRoutes}) {
		return checks.Routes(), nil
	}
	for _, name := range names {
		if !slices.Contains(checks.Routes(), name) {
			return nil, usageError(cmd, fmt.Errorf("route %q not found; available: %s", name, strings.Join(checks.Routes(), ", ")))
		}
	}
	return names, nil
}
