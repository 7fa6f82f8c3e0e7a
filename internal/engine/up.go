package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/manifests"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/run"
)

// UpOptions are the options of Up.
type UpOptions struct {
	File     string // the lab's, as the user named it
	Verify   bool
	Evidence bool // capture what passes too
	New      bool // refuse a lab that exists
	// Agree is asked before a lab is replaced, with the changes; nil: it is not replaced.
	Agree func(topology.Changes) bool
}

// UpResult is the result of Up.
type UpResult struct {
	Unchanged bool              // the lab was up and matched its file: nothing was done
	Running   providers.Running // the lab; none where Unchanged
	Report    *report.Report    // nil if nothing was verified
	Merge     error             // why a kubeconfig that the lab is merged into is out of date
}

// Up creates a lab, or updates it to match its file, and verifies every path.
func (e Engine) Up(ctx context.Context, set components.Set, o UpOptions, p Progress) (result UpResult, err error) {
	provider, err := e.provider(set.Plan.Provider)
	if err != nil {
		return result, err
	}
	cache := e.software(provider)
	if err := e.missing(ctx, cache, provider, set, o.File); err != nil {
		return result, err
	}
	theirs, err := e.Manifests(set, o.File)
	if err != nil {
		return result, err
	}
	release, err := e.Root.Lock(set.Plan.Lab, false)
	if err != nil {
		return result, err
	}
	defer release()
	was, err := e.before(ctx, set.Plan, theirs)
	if err != nil {
		return result, err
	}
	if was.known && o.New {
		return result, &ExistsError{set.Plan.Lab, was.state.File}
	}
	if was.known {
		if err := heeds(was.state, set, o.File); err != nil {
			return result, err
		}
	}
	set.Plan = set.Plan.WithVNIs(was.state.Plan, randomVNI)
	var ill error
	if was.asPlanned() {
		if ill = providers.Healthy(ctx, provider, was.state, e.Root.Dir(set.Plan.Lab)); ill == nil {
			return UpResult{Unchanged: true}, nil
		}
	}
	ended, err := e.alone(ctx, set.Plan.Lab, p) // a change would fail the paths of a running verification
	if err != nil {
		return result, err
	}
	defer ended()
	announce(p, set, was, ill)
	if err := was.agreed(o); err != nil {
		return result, err
	}
	cache.Before = was.kept()
	lab, err := e.obtain(ctx, cache, set, p)
	if err != nil {
		return result, was.untouched(ctx, err)
	}
	lab.theirs = theirs
	for _, note := range theirs.Notes(set.Plan.Lab.String()) {
		p.Warn(note)
	}
	if err := e.makeRoom(ctx, was, p); err != nil {
		return result, err
	}
	if err := e.Owners.Set(set.Plan.Lab, e.Root); err != nil {
		return result, err
	}
	if result.Running, err = e.create(ctx, provider, lab, o, p); err != nil {
		return result, stopped(ctx, err, fmt.Sprintf("`netlab up %s` continues, `netlab down %s` removes the lab", o.File, set.Plan.Lab))
	}
	result.Running.Impaired = set.Plan.Impaired()
	awaitSessions(ctx, result.Running, set.Plan, p)
	awaitSharedVIPs(ctx, result.Running, set.Plan, p)
	if o.Verify {
		if result.Report, err = verify(ctx, result.Running, lab.verify, o.Evidence, p); err != nil {
			return result, err
		}
		result.Report.Software = softwareOf(lab.obtained)
	}
	result.Merge = e.remerge(set.Plan.Lab)
	return result, nil
}

func randomVNI() uint32 {
	var b [4]byte
	rand.Read(b[:]) // it never fails
	return binary.BigEndian.Uint32(b[:])
}

// before is a lab as Up finds it.
type before struct {
	known   bool // there is such a lab
	state   providers.State
	changes topology.Changes
}

// before reads the current state of a lab. Parts of a lab without a state are refused.
func (e Engine) before(ctx context.Context, plan topology.Plan, theirs Manifests) (was before, err error) {
	was.state, err = e.Root.Read(plan.Lab)
	switch {
	case err == nil:
		was.known = true
		was.changes, err = e.changes(ctx, was.state, plan, theirs)
	case errors.Is(err, fs.ErrNotExist):
		err = e.refuseStranger(plan.Lab)
	}
	return was, err
}

// ExistsError reports that a lab that was to be new exists.
type ExistsError struct {
	Lab  labs.Name
	File string // that it was made from
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("lab %s already exists, made from %s", e.Lab, e.File)
}

// Hint says what to do about it.
func (e *ExistsError) Hint() string {
	return fmt.Sprintf("import it, give the new one another metadata.name, or remove it with `netlab down %s`", e.Lab)
}

func (was before) asPlanned() bool {
	return was.known && was.state.Phase == providers.PhaseUp && was.changes.None()
}

// announce reports the notices of a lab's components, what will change in the lab, and what is
// wrong with it and will be restored.
func announce(p Progress, set components.Set, was before, ill error) {
	for _, notice := range set.Notices() {
		p.Warn(notice)
	}
	if !was.known {
		return
	}
	for _, line := range was.changes.Lines() {
		p.Note(line)
	}
	for _, problem := range hint.Split(ill) {
		p.Note("restore: " + problem.Error())
	}
}

// replaced reports whether the lab has to go before it is created as planned.
func (was before) replaced() bool {
	return was.known && (len(was.changes.Remake) > 0 || was.state.Phase == providers.PhaseDeleting)
}

// kept is the software of a lab that stays.
func (was before) kept() components.Artifacts {
	if was.replaced() {
		return components.Artifacts{}
	}
	return was.state.Artifacts
}

// makeRoom removes a cluster that cannot be updated in place.
func (e Engine) makeRoom(ctx context.Context, was before, p Progress) (err error) {
	if !was.replaced() {
		return nil
	}
	provider, err := e.provider(was.state.Plan.Provider)
	if err != nil {
		return err
	}
	done := p.Step("remove the old cluster")
	defer func() { done(err) }()
	return providers.Down(ctx, e.Root, was.state.Plan.Lab, provider)
}

// stocked is a lab with its software and rendered manifests.
type stocked struct {
	set      components.Set
	obtained components.Artifacts
	rendered []components.Rendered
	verify   run.Options
	theirs   Manifests
}

// obtain obtains and renders a lab's software.
func (e Engine) obtain(ctx context.Context, cache artifacts.Cache, set components.Set, p Progress) (lab stocked, err error) {
	lab.set = set
	cache.Progress = p
	if lab.obtained, err = cache.Obtain(ctx, set, p.Step); err != nil {
		return lab, err
	}
	if lab.rendered, err = set.Render(lab.obtained); err != nil {
		return lab, err
	}
	lab.verify, err = verifyOptions(set, lab.obtained)
	return lab, err
}

// create creates a lab. Its components and the Pods of the verification start concurrently.
func (e Engine) create(ctx context.Context, provider providers.Provider, lab stocked, o UpOptions, p Progress) (providers.Running, error) {
	file, err := filepath.Abs(o.File)
	if err != nil {
		return providers.Running{}, err
	}
	req := providers.Request{Plan: lab.set.Plan, Artifacts: lab.obtained, Step: p.Step,
		Users: manifests.Rendered(lab.theirs.Sources, lab.theirs.Lacking), Hashes: manifests.Hashes(lab.theirs.Sources)}
	return providers.Up(ctx, e.Root, provider, req, lab.rendered, file, func(ctx context.Context, running providers.Running) error {
		if !o.Verify {
			return nil
		}
		return run.Prepare(ctx, running, lab.verify)
	})
}

// ownAgents reports whether the agents of a lab are this netlab's: what they are asked and
// what they answer belongs to one build.
func (e Engine) ownAgents(state providers.State) (bool, error) {
	agent, err := e.Software.Agent(e.Catalog)
	return agent == state.Artifacts.Agent, err
}

// missing is everything that this machine lacks for a lab: tools of the builds, prerequisites of the
// provider, and kernel features of modes, with the lines of the lab file where one is given.
func (e Engine) missing(ctx context.Context, cache artifacts.Cache, provider providers.Provider, set components.Set, file string) error {
	all := append(cache.Missing(set), provider.Check(ctx, set.Plan))
	if file == "" {
		return errors.Join(append(all, kernelLacks(provider, set)...)...)
	}
	for _, p := range e.KernelUnmet(set, file) {
		all = append(all, p)
	}
	return errors.Join(all...)
}

// KernelUnmet is what this machine's kernel lacks for a lab, with the line of the field that
// requires it. The lab file is valid all the same: another machine may have it.
func (e Engine) KernelUnmet(set components.Set, file string) labs.Problems {
	provider, err := e.provider(set.Plan.Provider)
	if err != nil {
		return nil
	}
	var problems labs.Problems
	for _, err := range kernelLacks(provider, set) {
		var n components.Need
		if errors.As(err, &n) {
			problems = append(problems, labs.Problem{Field: n.Field, What: n.Error(), Hint: n.Hint()})
		}
	}
	return problems.Located(file)
}

// lacksTools returns an error if this machine lacks what obtaining sets requires.
func (e Engine) lacksTools(sets []components.Set) error {
	for _, set := range sets {
		if missing := errors.Join(e.Software.Missing(set)...); missing != nil {
			return hint.With(missing, "`netlab doctor` lists all that is missing")
		}
	}
	return nil
}

// Build obtains the software of labs into the cache, without creating a lab. It returns why
// optional images are missing, by reference.
func (e Engine) Build(ctx context.Context, sets []components.Set, p Progress) (lacking map[string]string, err error) {
	if err := e.lacksTools(sets); err != nil {
		return nil, err
	}
	cache := e.Software
	cache.Progress = p
	all, err := cache.ObtainAll(ctx, sets, p.Step)
	if err != nil {
		return nil, err
	}
	lacking = map[string]string{}
	for _, obtained := range all {
		for ref, what := range obtained.Lacking {
			lacking[ref] = what
		}
	}
	return lacking, nil
}
