package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/run"
)

// VerifyOptions are the options of Verify.
type VerifyOptions struct {
	Throughput, Latency []string // routes to measure
	Extent              checks.Extent
	Evidence            bool   // capture what passes too
	Failover            bool   // first switch off what carries VIPs and gateways, and on again
	Pcap                string // a directory for the packets of every path; "" for none

	Paths        []labs.Path   // in place of those of the lab file; nil for these
	Wait, Settle time.Duration // as of run.Options
}

// VerifyResult is a report, with the lab's components and file.
type VerifyResult struct {
	Report report.Report
	Set    components.Set
	File   string // the lab's
}

// Verify verifies every path of a running lab.
func (e Engine) Verify(ctx context.Context, lab labs.Name, o VerifyOptions, p Progress) (VerifyResult, error) {
	if _, err := e.State(lab); err != nil {
		return VerifyResult{}, err
	}
	release, err := e.alone(ctx, lab, p)
	if err != nil {
		return VerifyResult{}, err
	}
	defer release()
	running, set, options, state, err := e.verifiable(ctx, lab)
	if err != nil {
		return VerifyResult{}, err
	}
	options.Extent = o.Extent
	if options.Paths = o.Paths; o.Paths == nil {
		if options.Paths, err = e.paths(state); err != nil {
			return VerifyResult{}, err
		}
	}
	if slices.Equal(o.Extent.Only, []string{checks.Mine}) && len(options.Paths) == 0 {
		return VerifyResult{}, hint.With(fmt.Errorf("%s lists no paths of yours", state.File),
			fmt.Sprintf("list them under verify.paths; `netlab verify %s --suggest` prints what is seen now", lab))
	}
	options.Throughput, options.Latency, options.Pcap = o.Throughput, o.Latency, o.Pcap
	options.Wait, options.Settle = o.Wait, o.Settle
	var failovers []report.Result
	if o.Failover {
		if failovers, err = run.Failover(ctx, running, options, switches{e, lab, p}); err != nil {
			return VerifyResult{}, err
		}
		if running, _, _, _, err = e.verifiable(ctx, lab); err != nil {
			return VerifyResult{}, err
		}
		awaitSessions(ctx, running, state.Plan, p)
		options.Settle = state.Plan.Limit(healing, 10*healing)
	}
	r, err := verify(ctx, running, options, o.Evidence, p)
	if err != nil {
		return VerifyResult{}, err
	}
	r.Paths = append(r.Paths, failovers...)
	r.Summary = report.Summarize(r.Paths)
	r.Software = softwareOf(state.Artifacts)
	return VerifyResult{Report: *r, Set: set, File: state.File}, nil
}

// Suggest returns the paths that assert what the user's workloads reach now.
func (e Engine) Suggest(ctx context.Context, lab labs.Name, p Progress) ([]checks.Suggestion, error) {
	if _, err := e.State(lab); err != nil {
		return nil, err
	}
	release, err := e.alone(ctx, lab, p)
	if err != nil {
		return nil, err
	}
	defer release()
	running, _, options, _, err := e.verifiable(ctx, lab)
	if err != nil {
		return nil, err
	}
	done := p.Step("ask what your workloads reach")
	all, err := run.Suggest(ctx, running, options)
	done(err)
	if err == nil && len(all) == 0 {
		err = hint.With(fmt.Errorf("lab %s has no ready workloads with Services of yours", lab), "apply some with `netlab kubectl`, or list them in manifests of the lab file")
	}
	return all, err
}

// paths are the user's own as the lab's file lists them now: an expectation takes effect without
// `up`. They are those of the last `up` where the file cannot be read any more, or has other problems.
func (e Engine) paths(state providers.State) ([]labs.Path, error) {
	plan, _, err := e.Unlocked().Plan(state.File)
	var problems labs.Problems
	if errors.As(err, &problems) && slices.ContainsFunc(problems, func(p labs.Problem) bool { return strings.HasPrefix(p.Field, "verify.paths") }) {
		return nil, err
	}
	if err != nil || plan.Lab != state.Plan.Lab {
		return state.Plan.Verify.Paths, nil
	}
	return plan.Verify.Paths, nil
}

// alone waits until no other process verifies the lab or changes it by `up`, and keeps others from
// it until release is called.
func (e Engine) alone(ctx context.Context, lab labs.Name, p Progress) (release func(), err error) {
	return e.Root.LockVerify(ctx, lab, func(busy *providers.BusyError) {
		p.Note(fmt.Sprintf("waiting for %s, which uses lab %s", busy.Holder, lab))
	})
}

// verify is a verification as a step.
func verify(ctx context.Context, running providers.Running, options run.Options, evidence bool, p Progress) (*report.Report, error) {
	done, now := p.Changing("verify every path")
	options.Evidence = evidence
	options.Progress = func(what string) { now("measure " + what) }
	r, err := run.Run(ctx, running, options)
	done(err)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// Trace follows a packet through a running lab; pcap is a directory for the packets, "" for none.
func (e Engine) Trace(ctx context.Context, lab labs.Name, way run.TraceRequest, pcap string) (report.Traced, error) {
	running, _, options, _, err := e.verifiable(ctx, lab)
	if err != nil {
		return report.Traced{}, err
	}
	options.Pcap = pcap
	return run.Trace(ctx, running, options, way)
}

// verifiable returns a lab that can be verified; some of its machines may be off. One that is not
// up is refused, and one whose agents are of another netlab build.
func (e Engine) verifiable(ctx context.Context, lab labs.Name) (running providers.Running, set components.Set, options run.Options, state providers.State, err error) {
	if running, state, err = e.attach(ctx, lab); err != nil && !providers.OnlyOff(err) {
		return running, set, options, state, err
	}
	if state.Phase != providers.PhaseUp {
		return running, set, options, state, state.NotUp()
	}
	own, err := e.ownAgents(state)
	if err == nil && !own {
		err = hint.With(fmt.Errorf("the agents of lab %s are of another netlab build and may be incompatible", lab),
			fmt.Sprintf("`netlab up %s` replaces them", state.File))
	}
	if err != nil {
		return running, set, options, state, err
	}
	if set, err = e.Catalog.Prefer(state.Artifacts.Versions).Resolve(state.Plan); err != nil {
		return running, set, options, state, err
	}
	p, err := e.provider(state.Plan.Provider)
	if err != nil {
		return running, set, options, state, err
	}
	if s, able := p.(providers.Switcher); able {
		if running.LinksDown, err = s.LinksDown(ctx, state.Plan); err != nil {
			return running, set, options, state, err
		}
	}
	if running.Impaired, err = impaired(ctx, p, state); err != nil {
		return running, set, options, state, err
	}
	options, err = verifyOptions(set, state.Artifacts)
	return running, set, options, state, err
}

// verifyOptions is what the verification has to know of a lab's components.
func verifyOptions(set components.Set, obtained components.Artifacts) (options run.Options, err error) {
	options = run.Options{Support: set.Support(obtained), Paths: set.Plan.Verify.Paths, Agent: obtained.Agent, Installed: observe.Installed{}}
	for _, k := range set.Components {
		if k.Install != nil {
			options.Installed[k.Kind] = append(options.Installed[k.Kind], k.Install.Ready...)
		}
	}
	if cni, ok := set.Of(components.KindCNI); ok {
		options.CNIVersion = cni.Version
	}
	options.Policies, err = checks.OwnPolicies(set, options.Support)
	return options, err
}
