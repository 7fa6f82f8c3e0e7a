package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/compare"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/lockfile"
	"netlab.dev/netlab/labs"
)

const formatMarkdown format = "markdown"

// compareFlags are those of compare; making lists the flags that only make sense where labs are made.
type compareFlags struct {
	output              *format
	vary                *[]string
	repeat              *int
	throughput, latency *[]string
	thorough            *bool
	save                *string // "" for none
	baseline, failOn    *string
	making              []string
}

func (a *app) compareCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "compare FILE...",
		Short: "Create, verify and remove labs, and compare the results",
		Long: "Create, verify and remove labs, one after another, and show side by side each kind of path, how\n" +
			"long each step took, and what CPU and memory are used. A FILE is a lab, a Matrix that lists labs,\n" +
			"or results that --save wrote: these are shown, and no lab is made. If one of the labs already\n" +
			"exists, nothing is created.\n\n" +
			"--vary makes several variants of each lab, with other values of a field; several --vary are\n" +
			"combined. With --repeat each variant is made several times, in turn with the others, and\n" +
			"differences are tested (Mann-Whitney, corrected for the number of rows).\n\n" +
			"--save keeps the results after each lab; the same command continues a comparison that was\n" +
			"interrupted. --baseline compares with such a file, and --fail-on makes that a gate: rows that must\n" +
			"not get worse (paths, " + strings.Join(compare.Groups()[2:], ", ") + "),\n" +
			"with a limit or without.\n\n" +
			"Exit status 0: all paths are as expected, or with --fail-on nothing got worse; 1: a path failed, or\n" +
			"what --fail-on names got worse beyond noise.",
		Example: "  netlab compare scenarios/cni-matrix.yaml\n" +
			"  netlab compare scenarios/quickstart.yaml --vary cni=flannel,calico --repeat 7 --save results.json\n" +
			"  netlab compare scenarios/quickstart.yaml --vary cni.version=v0.28.4,v0.28.10 --throughput\n" +
			"  netlab compare new.json --baseline old.json --fail-on 'paths,throughput<-10%,latency.p99>+20%'",
		Args: between(1, many),
	}
	f := compareFlags{output: outputFlag(c, formatMarkdown, formatJUnit, formatHTML, formatBenchfmt), making: []string{"vary", "repeat", "throughput", "latency", "thorough", "save"}}
	f.vary = c.Flags().StringArray("vary", nil, "make variants with these values of a field of the lab file: `FIELD=V1,V2`")
	f.repeat = c.Flags().Int("repeat", 1, "make each variant this often")
	f.throughput = routesFlag(c, "throughput", "also measure throughput with iperf3, over these `routes`")
	f.latency = routesFlag(c, "latency", "also measure the latency of small requests, over these `routes`")
	f.thorough = c.Flags().Bool("thorough", false, "also verify what takes up to minutes: a label that changes under a policy, backends that are replaced")
	f.save = c.Flags().String("save", "", "keep the results in this `file`, and continue those that it has")
	f.baseline = c.Flags().String("baseline", "", "compare with the results in this `file`")
	f.failOn = c.Flags().String("fail-on", "", "exit with 1 if rows are worse than in the baseline: `ROWS,ROWS<-N%,ROWS>+N%`")
	results := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
	}
	offer(c, "vary", a.completeVary)
	offer(c, "save", results)
	offer(c, "baseline", results)
	offer(c, "fail-on", func(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
		return lastOf(start, compare.Groups()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.compare(cmd, args, f) }
	return c
}

// completeVary completes the fields that are varied most, and their values.
func (a *app) completeVary(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	known := a.engine.Known()
	values := map[string][]string{
		"cni":                slices.Sorted(maps.Keys(known.CNIs)),
		"kubernetes.proxy":   known.Kubernetes.Of("").Modes,
		"kubernetes.version": known.Kubernetes.Versions(),
		"ingress":            slices.Sorted(maps.Keys(known.Ingresses)),
		"loadBalancer":       slices.Sorted(maps.Keys(known.LoadBalancers)),
		"provider":           known.Providers,
	}
	field, typed, ok := strings.Cut(start, "=")
	if !ok {
		var fields []string
		for _, f := range slices.Sorted(maps.Keys(values)) {
			fields = append(fields, f+"=")
		}
		return beginning(start, fields), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	var all []string
	for _, v := range lastOf(typed, values[field]) {
		all = append(all, field+"="+v)
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) compare(cmd *cobra.Command, args []string, f compareFlags) error {
	var conditions []compare.Condition
	var err error
	if *f.failOn != "" {
		if conditions, err = compare.ParseConditions(*f.failOn); err != nil {
			return fmt.Errorf("--fail-on: %w", err)
		}
		if *f.baseline == "" {
			return usageError(cmd, errors.New("--fail-on requires --baseline"))
		}
	}
	var baseline compare.Results
	if *f.baseline != "" {
		if baseline, err = readResults(*f.baseline); err != nil {
			return err
		}
	}
	r, err := a.results(cmd, args, f)
	if err != nil {
		return err
	}
	o := compare.OutcomeOf(r)
	if *f.baseline != "" {
		if o, err = compare.Against(r, baseline, *f.baseline, conditions); err != nil {
			if len(conditions) > 0 {
				err = fmt.Errorf("--fail-on: %w", err)
			}
			return err
		}
	}
	if err := writeOutcome(a.stdout, *f.output, r, o); err != nil {
		return err
	}
	if len(conditions) > 0 {
		if compare.Failed(o.Judged) {
			return exitStatus{exitPath}
		}
		return nil
	}
	return endOf(r)
}

// writeOutcome prints a comparison in a format.
func writeOutcome(w io.Writer, form format, r compare.Results, o compare.Outcome) error {
	switch form {
	case formatJSON:
		r.SchemaVersion = compare.SchemaVersion
		return printJSON(w, struct {
			compare.Results
			Columns     []compare.Column     `json:"columns"`
			Comparisons []compare.Comparison `json:"comparisons,omitempty"`
			Conditions  []compare.Judged     `json:"conditions,omitempty"`
			Notes       []string             `json:"notes,omitempty"`
		}{r, o.Columns, o.Comparisons, o.Judged, o.Notes})
	case formatMarkdown:
		return o.WriteMarkdown(w)
	case formatJUnit:
		return o.WriteJUnit(w)
	case formatHTML:
		return o.WriteHTML(w)
	case formatBenchfmt:
		return o.WriteBenchfmt(w)
	}
	return o.WriteText(w)
}

// endOf is the error of results without a gate: a lab that could not be made, or a path that failed.
func endOf(r compare.Results) (err error) {
	for _, run := range r.Runs {
		if run.Error != "" {
			return fmt.Errorf("%s: %s", r.Variants[run.Variant].Name, run.Error)
		}
		if run.Report.ExitCode() != 0 {
			err = exitStatus{exitPath}
		}
	}
	return err
}

// results reads the results of a file, or makes labs.
func (a *app) results(cmd *cobra.Command, args []string, f compareFlags) (compare.Results, error) {
	if isResults(args[0]) {
		if len(args) > 1 {
			return compare.Results{}, usageError(cmd, fmt.Errorf("%s has results: no other file can be compared but a --baseline", args[0]))
		}
		for _, flag := range f.making {
			if cmd.Flags().Changed(flag) {
				return compare.Results{}, usageError(cmd, fmt.Errorf("--%s is for labs, and %s has results", flag, args[0]))
			}
		}
		return readResults(args[0])
	}
	r, all, err := a.comparison(cmd, args, f)
	if err != nil {
		return r, err
	}
	keep := func(compare.Results) error { return nil }
	if *f.save != "" {
		release, err := lockfile.Take(cmd.Context(), *f.save+".lock", 0, nil)
		var busy *lockfile.BusyError
		if errors.As(err, &busy) {
			err = hint.With(err, "another comparison writes its results there")
		}
		if err != nil {
			return r, err
		}
		defer release()
		if r, err = continued(r, *f.save); err != nil {
			return r, err
		}
		keep = func(r compare.Results) error {
			text, err := r.Text()
			if err != nil {
				return err
			}
			return atomicfile.Replace(*f.save, text, 0o644)
		}
	}
	return a.makeLabs(cmd.Context(), r, all, keep)
}

// comparison is what is to be made: no run yet.
func (a *app) comparison(cmd *cobra.Command, args []string, f compareFlags) (r compare.Results, all []engine.Variation, err error) {
	if *f.repeat < 1 {
		return r, nil, usageError(cmd, fmt.Errorf("--repeat %d: at least 1 expected", *f.repeat))
	}
	r = compare.Results{SchemaVersion: compare.SchemaVersion, Netlab: buildVersion().Version, Began: time.Now(), Repeat: *f.repeat,
		Machine: compare.Machine{CPU: processor(), Cores: runtime.NumCPU(), Kernel: kernel()}, Measured: compare.Measured{Thorough: *f.thorough}}
	if r.Measured.Throughput, err = routes(cmd, *f.throughput); err != nil {
		return r, nil, err
	}
	if r.Measured.Latency, err = routes(cmd, *f.latency); err != nil {
		return r, nil, err
	}
	var fields [][]labs.Setting
	varied := map[string]bool{}
	for _, text := range *f.vary {
		settings, err := labs.ParseSettings(text)
		if err != nil {
			return r, nil, usageError(cmd, fmt.Errorf("--vary: %w", err))
		}
		if field := settings[0].Field; varied[field] {
			return r, nil, usageError(cmd, fmt.Errorf("--vary: %s is varied twice", field))
		}
		varied[settings[0].Field] = true
		fields = append(fields, settings)
	}
	files, err := a.engine.Files(args)
	if err != nil {
		return r, nil, err
	}
	all, notes, err := a.engine.Variants(files, fields)
	a.notes(notes)
	for _, v := range all {
		r.Variants = append(r.Variants, v.Variant)
	}
	return r, all, err
}

// makeLabs builds everything, then makes the runs that results lack.
func (a *app) makeLabs(ctx context.Context, r compare.Results, all []engine.Variation, keep func(compare.Results) error) (compare.Results, error) {
	if len(r.Left()) == 0 {
		return r, nil
	}
	if err := a.engine.Strangers(all, r.Underway); err != nil {
		return r, err
	}
	shown := a.progress()
	defer shown.Close()
	if err := a.engine.Prepare(ctx, all, shown); err != nil {
		return r, err
	}
	return a.engine.Compare(ctx, r, all, keep, shown)
}

// continued adds the runs that a file of results has already.
func continued(r compare.Results, file string) (compare.Results, error) {
	earlier, err := readResults(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	joined, err := r.Continue(earlier)
	if err != nil {
		return r, hint.With(fmt.Errorf("%s %w", file, err), "remove it, or --save to another file")
	}
	return joined, nil
}

func readResults(file string) (compare.Results, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return compare.Results{}, err
	}
	r, err := compare.Parse(text)
	if err != nil {
		return r, fmt.Errorf("%s %w", file, err)
	}
	return r, nil
}

// isResults reports whether a file is JSON, as results are, and not YAML.
func isResults(file string) bool {
	if strings.HasSuffix(file, ".json") {
		return true
	}
	data, err := labs.ReadFile(file)
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(data)), "{") && strings.Contains(string(data), `"variants"`)
}

// processor is the model of this machine's CPU, "" if unknown.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
