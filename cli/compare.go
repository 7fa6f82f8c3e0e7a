package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/run"
)

// compared is one lab of a comparison. Seconds are those that a user waits.
type compared struct {
	Lab           labs.Name      `json:"lab"`
	File          string         `json:"file"`
	CNI           labs.CNI       `json:"cni"`
	Proxy         string         `json:"proxy"`
	Provider      string         `json:"provider"`
	Error         string         `json:"error,omitempty"` // why there is no report
	UpSeconds     float64        `json:"upSeconds"`       // everything built; verified
	VerifySeconds float64        `json:"verifySeconds"`   // once more, the lab being up
	DownSeconds   float64        `json:"downSeconds"`
	NodeBytes     int64          `json:"nodeBytes,omitempty"` // the mean of its Nodes
	Report        *report.Report `json:"report,omitempty"`
}

func (a *app) compareCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "compare FILE...",
		Short: "Make, verify and remove several labs in turn, and show them side by side",
		Long: "Make, verify and remove several labs, one after another, and show side by side what became\n" +
			"of each path, how long each took and what memory its Nodes hold. The files are labs, or a\n" +
			"Matrix that names labs. A lab that is there already is left alone, and nothing is made.",
		Example: "  netlab compare scenarios/cni-matrix.yaml\n  netlab compare scenarios/quickstart.yaml scenarios/calico-bgp.yaml -o json",
		Args:    cobra.MinimumNArgs(1),
	}
	output := outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		files, err := a.labFiles(args)
		if err != nil {
			return err
		}
		plans, err := a.strangers(files)
		if err != nil {
			return err
		}
		all, err := a.compare(cmd.Context(), files, plans)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			err = printJSON(a.stdout, all)
		} else {
			err = writeComparison(a.stdout, all)
		}
		for _, one := range all {
			if one.Error != "" {
				return errors.Join(err, fmt.Errorf("%s: %s", one.Lab, one.Error))
			}
			if one.Report.ExitCode() != 0 && err == nil {
				err = exitStatus{exitPath}
			}
		}
		return err
	}
	return c
}

// strangers gives the plans of labs none of which is there yet, and no two of which have
// one name.
func (a *app) strangers(files []string) ([]topology.Plan, error) {
	var plans []topology.Plan
	var errs error
	for _, file := range files {
		set, err := a.resolve(file)
		plan := set.Plan
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		if slices.ContainsFunc(plans, func(p topology.Plan) bool { return p.Lab == plan.Lab }) {
			errs = errors.Join(errs, hint.With(fmt.Errorf("%s: another of these labs is called %s too", file, plan.Lab), "give it another metadata.name"))
		}
		_, err = a.root.Read(plan.Lab)
		if err == nil {
			err = hint.With(fmt.Errorf("lab %s is there already, and comparing would remove it", plan.Lab), fmt.Sprintf("`netlab down %s` removes it", plan.Lab))
		} else if errors.Is(err, fs.ErrNotExist) {
			err = a.refuseStranger(plan.Lab)
		}
		errs = errors.Join(errs, err)
		plans = append(plans, plan)
	}
	return plans, errs
}

// compare makes each lab in turn, with everything built beforehand. A lab that cannot be
// made is told of and the next one made.
func (a *app) compare(ctx context.Context, files []string, plans []topology.Plan) ([]compared, error) {
	shown := a.progress()
	for _, plan := range plans {
		set, err := a.catalog.Resolve(plan)
		if err == nil {
			err = a.obtain(ctx, set, shown.Step)
		}
		if err != nil {
			shown.Close()
			return nil, err
		}
	}
	shown.Close()
	var all []compared
	for i, plan := range plans {
		fmt.Fprintf(a.stderr, "%s\n", painterFor(a.stderr).bold(fmt.Sprintf("lab %d of %d: %s", i+1, len(plans), plan.Lab)))
		one := compared{Lab: plan.Lab, File: files[i], CNI: plan.CNI, Proxy: plan.Kubernetes.Proxy, Provider: plan.Provider}
		err := a.compareOne(ctx, files[i], plan, &one)
		began := time.Now()
		gone := a.muted().down(context.WithoutCancel(ctx), plan.Lab)
		one.DownSeconds = time.Since(began).Seconds()
		if ctx.Err() != nil {
			return nil, errors.Join(errors.New("stopped"), gone)
		}
		if err = errors.Join(err, gone); err != nil {
			one.Error = err.Error()
		}
		all = append(all, one)
	}
	return all, nil
}

// obtain makes a lab's software present.
func (a *app) obtain(ctx context.Context, set components.Set, step components.Step) error {
	cache, err := a.softwareFor(set.Plan)
	if err != nil {
		return err
	}
	if err := a.missing(ctx, cache, set); err != nil {
		return err
	}
	_, err = cache.Obtain(ctx, set, step)
	return err
}

// muted is the app with its result thrown away.
func (a *app) muted() *app {
	out := *a
	out.stdout = &bytes.Buffer{}
	return &out
}

// compareOne makes a lab as `up` does, and verifies it once more.
func (a *app) compareOne(ctx context.Context, file string, plan topology.Plan, one *compared) error {
	quiet := a.muted()
	json, no := formatJSON, false
	var path exitStatus
	began := time.Now()
	if err := quiet.up(ctx, file, upFlags{report: reportFlags{output: &json}, noVerify: &no}); err != nil && !errors.As(err, &path) {
		return err
	}
	one.UpSeconds = time.Since(began).Seconds()
	running, state, err := a.attached(ctx, plan.Lab)
	if err != nil {
		return err
	}
	_, check, err := a.checkOf(state)
	if err != nil {
		return err
	}
	began = time.Now()
	if _, err := run.Run(ctx, running, check); err != nil {
		return err
	}
	one.VerifySeconds = time.Since(began).Seconds()
	nodes := plan.Nodes()
	for _, n := range nodes {
		one.NodeBytes += a.memory(plan, n) / int64(len(nodes))
	}
	one.Report, err = reported(quiet.stdout.(*bytes.Buffer))
	return err
}

// reported reads the report that `up -o json` printed.
func reported(out *bytes.Buffer) (*report.Report, error) {
	var r report.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("read the report: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return &r, nil
}
