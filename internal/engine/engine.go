// Package engine is netlab's use cases: Up, Down, Verify, Compare, Status and the others, the
// only place where the stages meet. They take values and give values or errors, tell of their
// progress through a Progress, take a lab's lock while they change it, and read as their own
// tables of contents. Flags, printing and exit codes are the command line's.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kind"
	"netlab.dev/netlab/providers/libvirt"
	"netlab.dev/netlab/providers/netns"
	"netlab.dev/netlab/topology"
)

// Engine is what the use cases work with: places, and the tables of what there is.
type Engine struct {
	Root      providers.Root
	Software  artifacts.Cache // its KernelHas is the provider's
	Catalog   components.Catalog
	Providers []Provider
}

// Provider is an entry of the table of providers.
type Provider struct {
	Name string
	providers.Provider
}

// Providers is the table of providers, the default first. A Down without state asks them from
// the last to the first, as nobody knows then who made the lab: only libvirt reads what the
// links of a lab say of other machines, so it comes before those that remove the links; kind
// ends its containers before netns, whose Delete is what all labs have in common.
func Providers() []Provider {
	return []Provider{{"netns", netns.Provider{}}, {"kind", kind.Provider{}}, {"libvirt", libvirt.Provider{}}}
}

// Progress is told of what a use case does.
type Progress interface {
	// Step begins a named step; its end is told with the step's error.
	Step(name string) (done func(error))
	// Changing is a Step that may say what it is doing now.
	Changing(name string) (done func(error), now func(what string))
	// Note tells of a change to the lab; Warn of what the user may not expect.
	Note(text string)
	Warn(text string)
}

// Known is what a lab file may ask for.
func (e Engine) Known() labs.Known {
	known := e.Catalog.Known()
	for _, p := range e.Providers {
		known.Providers = append(known.Providers, p.Name)
	}
	return known
}

// Plan reads a lab file and decides everything in it. The notes are of spellings that were
// replaced.
func (e Engine) Plan(file string) (plan topology.Plan, notes labs.Problems, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return plan, nil, hint.With(err, "give the path of a lab file, such as scenarios/quickstart.yaml")
	}
	plan, err = topology.Load(file, data, e.Known())
	return plan, labs.Notes(file, data), err
}

// Resolve is Plan, with the components for it. What they do not support is reported with the
// line of the field that asks for it.
func (e Engine) Resolve(file string) (set components.Set, notes labs.Problems, err error) {
	plan, notes, err := e.Plan(file)
	if err != nil {
		return set, notes, err
	}
	set, err = e.Catalog.Resolve(plan)
	var problems labs.Problems
	if errors.As(err, &problems) {
		err = problems.At(file)
	}
	return set, notes, err
}

// Default is the Set of the lab that a file with nothing but a name describes.
func (e Engine) Default() (components.Set, error) {
	plan, err := topology.Build(labs.Default(labs.MustName("default"), e.Known()))
	if err != nil {
		return components.Set{}, err
	}
	return e.Catalog.Resolve(plan)
}

// Files puts the lab files that a Matrix names in the Matrix's place.
func (e Engine) Files(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		data, err := os.ReadFile(arg)
		if err != nil || !labs.IsMatrix(data) {
			files = append(files, arg) // Plan tells what is wrong with it
			continue
		}
		named, err := labs.LoadMatrix(arg, data)
		if err != nil {
			return nil, err
		}
		files = append(files, named...)
	}
	return files, nil
}

// provider gives one of the table.
func (e Engine) provider(name string) (providers.Provider, error) {
	var known []string
	for _, p := range e.Providers {
		if p.Name == name {
			return p.Provider, nil
		}
		known = append(known, p.Name)
	}
	return nil, hint.With(fmt.Errorf("provider %q not found", name), "this netlab has "+strings.Join(known, ", "))
}

// software gives the cache, for Nodes of a provider's.
func (e Engine) software(p providers.Provider) artifacts.Cache {
	cache := e.Software
	if shared, ok := p.(providers.KernelSharer); ok {
		cache.KernelHas = shared.KernelHas
	}
	return cache
}

// State gives the state of a lab that there is.
func (e Engine) State(lab labs.Name) (providers.State, error) {
	state, err := e.Root.Read(lab)
	if errors.Is(err, fs.ErrNotExist) {
		err = e.notFound(lab)
	}
	return state, err
}

// made gives the state of a lab that there is, and its provider.
func (e Engine) made(lab labs.Name) (providers.State, providers.Provider, error) {
	state, err := e.State(lab)
	if err != nil {
		return state, nil, err
	}
	p, err := e.provider(state.Plan.Provider)
	return state, p, err
}

// notFound says that there is no lab of a name, and which there are.
func (e Engine) notFound(lab labs.Name) error {
	todo := "make one with `netlab up FILE`"
	if known, err := e.Root.Labs(); err == nil && len(known) > 0 {
		todo = "labs of this machine: " + List(known)
	}
	return hint.With(fmt.Errorf("lab %s not found", lab), todo)
}

// Only gives the lab of a machine that has one.
func (e Engine) Only() (labs.Name, error) {
	found, err := e.Root.Labs()
	switch {
	case err != nil:
		return labs.Name{}, err
	case len(found) == 0:
		return labs.Name{}, hint.With(errors.New("this machine has no lab"), "make one with `netlab up FILE`")
	case len(found) > 1:
		return labs.Name{}, hint.With(errors.New("this machine has several labs"), "name one of: "+List(found))
	}
	return found[0], nil
}

// List writes names one after another.
func List(names []labs.Name) string {
	var texts []string
	for _, n := range names {
		texts = append(texts, n.String())
	}
	return strings.Join(texts, ", ")
}

// attach finds the machines of a lab that is not stopped.
func (e Engine) attach(ctx context.Context, lab labs.Name) (providers.Running, providers.State, error) {
	state, p, err := e.made(lab)
	if err != nil {
		return providers.Running{}, state, err
	}
	if state.Phase == providers.PhaseStopped {
		return providers.Running{Plan: state.Plan}, state, state.NotUp()
	}
	running, err := p.Attach(ctx, state.Plan, e.Root.Dir(lab))
	return running, state, err
}

// stopped adds to an error how to go on or back. Of what Ctrl-C stopped nothing else is told.
func stopped(ctx context.Context, err error, todo string) error {
	if ctx.Err() != nil {
		err = errors.New("stopped")
	}
	return hint.With(err, todo)
}

// sorted orders names, each once.
func sorted(names []labs.Name) []labs.Name {
	slices.SortFunc(names, func(a, b labs.Name) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(names)
}
