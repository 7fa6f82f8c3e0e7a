package pulumi

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// The outputs of a Verification, beside its inputs.
const (
	summaryProperty = "summary"
	resultsProperty = "results"
)

// shownFailures is how many paths an error names; the state has all.
const shownFailures = 20

// verification are a Verification's inputs.
type verification struct {
	Lab        string   `json:"lab"`
	Throughput []string `json:"throughput"`
	Latency    []string `json:"latency"`
	Thorough   bool     `json:"thorough"`
	AllPairs   bool     `json:"allPairs"`
}

// path is one path of a report.
type path struct {
	ID       string `json:"id"`
	From     string `json:"from"`
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	Expected string `json:"expected"`
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason,omitempty"`
	// The medians of measurements.
	Throughput float64 `json:"throughput,omitempty"` // in bit/s
	Latency    float64 `json:"latency,omitempty"`    // in µs
}

func (p *Provider) checkVerification(_ context.Context, v values) ([]plugin.CheckFailure, error) {
	all := v.formed(verificationInputs())
	if len(all) > 0 {
		return all, nil
	}
	var asked verification
	if err := v.into(&asked); err != nil {
		return nil, err
	}
	all = nameFailures(asked.Lab, v)
	for _, of := range []struct {
		property string
		routes   []string
	}{{"throughput", asked.Throughput}, {"latency", asked.Latency}} {
		for i, route := range of.routes {
			at := fmt.Sprintf("%s[%d]", of.property, i)
			if !slices.Contains(checks.Routes(), route) && !among(at, v.unknown) {
				all = append(all, plugin.CheckFailure{Property: resource.PropertyKey(at),
					Reason: fmt.Sprintf("route %q not found; %s", route, labs.DidYouMean(route, checks.Routes()))})
			}
		}
	}
	return all, nil
}

// nameFailures checks property lab.
func nameFailures(lab string, v values) []plugin.CheckFailure {
	if among("lab", v.unknown) {
		return nil
	}
	if _, err := labs.ParseName(lab); err != nil {
		return []plugin.CheckFailure{{Property: "lab", Reason: lines(err)[0]}}
	}
	return nil
}

// diffVerification: whatever is asked differently is verified again; another lab is another
// verification.
func (p *Provider) diffVerification(_ context.Context, req plugin.DiffRequest) (diff plugin.DiffResponse, err error) {
	diff.Changes, diff.DetailedDiff = plugin.DiffNone, differing(req)
	for path, d := range diff.DetailedDiff {
		diff.Changes = plugin.DiffSome
		if path == "lab" {
			diff.DetailedDiff[path] = d.ToReplace()
		}
	}
	return diff, nil
}

func (p *Provider) createVerification(ctx context.Context, req plugin.CreateRequest) (made plugin.CreateResponse, err error) {
	made.ID, made.Properties, err = p.verify(ctx, req.Properties, req.URN, req.Preview)
	return made, err
}

func (p *Provider) updateVerification(ctx context.Context, req plugin.UpdateRequest) (made plugin.UpdateResponse, err error) {
	_, made.Properties, err = p.verify(ctx, req.NewInputs, req.URN, req.Preview)
	return made, err
}

// verify is `netlab verify`. Paths that are not as expected are an error, recorded with the results,
// so that the next update verifies again.
func (p *Provider) verify(ctx context.Context, inputs resource.PropertyMap, of resource.URN, preview bool) (id resource.ID, out resource.PropertyMap, err error) {
	out = maps.Clone(inputs)
	if preview {
		out[summaryProperty], out[resultsProperty] = unknown(), unknown()
		return "", out, nil
	}
	v, err := read(inputs)
	if err != nil {
		return "", nil, err
	}
	var asked verification
	if err := v.into(&asked); err != nil {
		return "", nil, err
	}
	lab, err := labs.ParseName(asked.Lab)
	if err != nil {
		return "", nil, err
	}
	verified, err := p.engine.Verify(ctx, lab, engine.VerifyOptions{Throughput: asked.Throughput, Latency: asked.Latency,
		Extent: checks.Extent{Thorough: asked.Thorough, AllPairs: asked.AllPairs}}, p.progress(ctx, of))
	if err != nil {
		return "", nil, because(ctx, err)
	}
	r := verified.Report
	if out[summaryProperty], err = property(r.Summary); err != nil {
		return "", nil, err
	}
	if out[resultsProperty], err = property(paths(r.Paths)); err != nil {
		return "", nil, err
	}
	id = resource.ID(lab.Label())
	if r.ExitCode() != 0 {
		return "", nil, p.incomplete(id, inputs, out, unexpected(r))
	}
	p.progress(ctx, of).Note(summaryText(r))
	return id, out, nil
}

func paths(results []report.Result) []path {
	all := []path{}
	for _, r := range results {
		one := path{ID: r.ID, From: r.From.Name, To: r.To.Name, Protocol: r.Protocol, Expected: r.Expected, Outcome: r.Outcome, Reason: r.Reason}
		if r.Throughput != nil {
			one.Throughput = r.Throughput.Median
		}
		if r.Latency != nil {
			one.Latency = r.Latency.P50.Median
		}
		all = append(all, one)
	}
	return all
}

// unexpected are the paths that failed or are broken, after the numbers.
func unexpected(r report.Report) []string {
	var list []string
	for _, result := range r.Paths {
		if result.Outcome == report.Fail || result.Outcome == report.Broken {
			list = append(list, fmt.Sprintf("%s %s, %s → %s over %s: %s", result.ID, result.Outcome, result.From.Name, result.To.Name, result.Protocol, result.Reason))
		}
	}
	if more := len(list) - shownFailures; more > 0 {
		list = append(list[:shownFailures], fmt.Sprintf("and %d more: `netlab verify %s` shows all", more, r.Lab))
	}
	return append([]string{summaryText(r)}, list...)
}

func summaryText(r report.Report) string {
	s := r.Summary
	return fmt.Sprintf("lab %s: %d paths pass, %d fail, %d broken, %d skipped", r.Lab, s.Pass, s.Fail, s.Broken, s.Skip)
}

// readVerification: what was verified stays so, as long as its lab is there.
func (p *Provider) readVerification(_ context.Context, req plugin.ReadRequest) (found plugin.ReadResponse, err error) {
	if len(req.State) == 0 {
		return found, fmt.Errorf("a Verification cannot be imported: create it, which verifies the lab")
	}
	if there, err := p.exists(req.ID); err != nil || !there {
		return found, err
	}
	found.ID, found.Inputs, found.Outputs = req.ID, req.Inputs, req.State
	return found, nil
}
