// Package engine holds netlab's use cases: Up, Down, Verify, Compare, Status and the others.
// It is the only place where the stages meet. Use cases take values, return values or errors,
// report progress through a Progress, and hold a lab's lock while they change it. Flags,
// printing and exit codes are in package cli.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// Engine is what the use cases share: directories, the catalog and the table of providers.
type Engine struct {
	Root      providers.Root
	Owners    providers.Owners
	Software  artifacts.Cache // its KernelHas is the provider's
	Catalog   components.Catalog
	Providers []Provider

	noLocks  bool           // see Unlocked
	settings []labs.Setting // see With
}

// Provider is an entry of the table of providers.
type Provider struct {
	Name string
	providers.Provider
}

// Providers is the table of providers, the default first. Down without a state calls them from
// the last to the first, since any of them may have created the lab: only libvirt reads from
// the links of a lab which other machines it uses, so it runs before the links are removed;
// kind removes its containers before netns, whose Delete is what all labs have in common.
func Providers() []Provider {
	return []Provider{{"netns", netns.Provider{}}, {"kind", kind.Provider{}}, {"libvirt", libvirt.Provider{}}}
}

// Progress receives what a use case is doing.
type Progress interface {
	// Step starts a named step; done finishes it with the step's error.
	Step(name string) (done func(error))
	// Changing is a Step that can report what it is doing now.
	Changing(name string) (done func(error), now func(what string))
	// Note reports a change to the lab; Warn what may surprise the user.
	Note(text string)
	Warn(text string)
}

// Known is what a lab file may ask for.
func (e Engine) Known() labs.Known {
	known := e.Catalog.Known()
	known.Sections = map[string]labs.Section{}
	for _, p := range e.Providers {
		known.Providers = append(known.Providers, p.Name)
		if own, ok := p.Provider.(providers.Configurable); ok {
			known.Sections[p.Name] = own.Section()
		}
	}
	return known
}

// Plan reads a lab file and makes its Plan. The notes are about deprecated spellings. Versions that
// the file does not name are those of its lock.
func (e Engine) Plan(file string) (plan topology.Plan, notes labs.Problems, err error) {
	plan, _, notes, err = e.plan(file)
	return plan, notes, err
}

// plan is Plan with the lab file's lock; nil without one.
func (e Engine) plan(file string) (plan topology.Plan, lock *components.Lock, notes labs.Problems, err error) {
	data, err := labs.ReadFile(file)
	if err != nil {
		return plan, nil, nil, hint.With(err, "give the path of a lab file, such as scenarios/quickstart.yaml")
	}
	if lock, err = e.lockOf(file); err != nil {
		return plan, nil, nil, err
	}
	text, err := e.varied(file, data)
	if err != nil {
		return plan, nil, nil, err
	}
	plan, err = topology.Load(file, text, e.locked(lock).Known())
	return plan, lock, labs.Notes(file, data), e.inVariant(file, err)
}

// Resolve is Plan with the lab's components. What they do not support is reported with the
// line of the field that requires it, and what differs from the lab file's lock.
func (e Engine) Resolve(file string) (set components.Set, notes labs.Problems, err error) {
	plan, lock, notes, err := e.plan(file)
	if err != nil {
		return set, notes, err
	}
	set, err = e.locked(lock).Catalog.Resolve(plan)
	set.Lock = lock
	var problems labs.Problems
	if errors.As(err, &problems) {
		err = e.inVariant(file, problems.At(file))
	}
	if err == nil {
		err = heeded(set, file)
	}
	return set, notes, err
}

// Inline is Resolve for a lab that is not in a file: text is what its file would hold. Problems have
// fields, and lines of that text. No lock applies.
func (e Engine) Inline(text []byte) (set components.Set, notes labs.Problems, err error) {
	plan, err := topology.Load("", text, e.Known())
	notes = labs.Notes("", text)
	if err != nil {
		return set, notes, err
	}
	set, err = e.Catalog.Resolve(plan)
	return set, notes, err
}

// Default is the Set of a lab file that holds only a name.
func (e Engine) Default() (components.Set, error) {
	plan, err := topology.Build(labs.Default(labs.MustName("default"), e.Known()))
	if err != nil {
		return components.Set{}, err
	}
	return e.Catalog.Resolve(plan)
}

// Files replaces a Matrix by the lab files that it lists.
func (e Engine) Files(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		data, err := labs.ReadFile(arg)
		if err != nil || !labs.IsMatrix(data) {
			files = append(files, arg) // Plan reports what is wrong with it
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

// provider returns a provider of the table.
func (e Engine) provider(name string) (providers.Provider, error) {
	var known []string
	for _, p := range e.Providers {
		if p.Name == name {
			return p.Provider, nil
		}
		known = append(known, p.Name)
	}
	return nil, hint.With(fmt.Errorf("provider %q not found", name), "available: "+strings.Join(known, ", "))
}

// software returns the cache for a provider's Nodes.
func (e Engine) software(p providers.Provider) artifacts.Cache {
	cache := e.Software
	if shared, ok := p.(providers.KernelSharer); ok {
		cache.KernelHas = shared.KernelHas
	}
	return cache
}

// State returns the state of an existing lab.
func (e Engine) State(lab labs.Name) (providers.State, error) {
	state, err := e.Root.Read(lab)
	if errors.Is(err, fs.ErrNotExist) {
		err = e.notFound(lab)
	}
	return state, err
}

// made returns the state of an existing lab and its provider.
func (e Engine) made(lab labs.Name) (providers.State, providers.Provider, error) {
	state, err := e.State(lab)
	if err != nil {
		return state, nil, err
	}
	p, err := e.provider(state.Plan.Provider)
	return state, p, err
}

// notFound is the error for a lab that does not exist; its hint lists those that do.
func (e Engine) notFound(lab labs.Name) error {
	todo := "create one with `netlab up FILE`"
	if known, err := e.Root.Labs(); err == nil && len(known) > 0 {
		todo = "labs of this machine: " + List(known)
	}
	return hint.With(fmt.Errorf("lab %s not found", lab), todo)
}

// Only returns the lab of a machine that has exactly one.
func (e Engine) Only() (labs.Name, error) {
	found, err := e.Root.Labs()
	switch {
	case err != nil:
		return labs.Name{}, err
	case len(found) == 0:
		return labs.Name{}, hint.With(errors.New("no lab found on this machine"), "create one with `netlab up FILE`")
	case len(found) > 1:
		return labs.Name{}, hint.With(errors.New("several labs found on this machine"), "specify one of: "+List(found))
	}
	return found[0], nil
}

// List joins names with commas.
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

// stopped adds to an error a hint how to continue or undo. After Ctrl-C the error is only
// "stopped".
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
