// Package cli is netlab's command line: verbs, flags, progress and exit codes. It is
// the only place where the stages meet, print, or end the process; what a verb does
// is in the packages it calls.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

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

// app is what every verb works with: streams, places and the tables of what there is.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	root           providers.Root
	cache          string
	catalog        components.Catalog
	providers      map[string]providers.Provider
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) (*app, error) {
	catalog, err := components.Load()
	if err != nil {
		return nil, fmt.Errorf("netlab's own components: %w", err)
	}
	cache := os.Getenv("NETLAB_CACHE_DIR")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, hint.With(err, "set NETLAB_CACHE_DIR")
		}
		cache = filepath.Join(dir, "netlab")
	}
	return &app{
		stdin: stdin, stdout: stdout, stderr: stderr,
		root: providers.DefaultRoot(), cache: cache, catalog: catalog,
		providers: map[string]providers.Provider{"kind": kind.Provider{}, "libvirt": libvirt.Provider{}, "netns": netns.Provider{}},
	}, nil
}

// known is what a lab file may ask for.
func (a *app) known() labs.Known {
	known := a.catalog.Known()
	known.Providers = []string{"netns", "kind", "libvirt"}
	return known
}

// plan reads a lab file and decides everything in it.
func (a *app) plan(file string) (topology.Plan, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return topology.Plan{}, hint.With(err, "give the path of a lab file, such as scenarios/quickstart.yaml")
	}
	for _, note := range labs.Notes(file, data) {
		fmt.Fprintf(a.stderr, "note: %v\n", note)
	}
	return topology.Load(file, data, a.known())
}

// resolve reads a lab file, decides everything in it and finds the components for it. What
// they do not support is reported with the line of the field that asks for it.
func (a *app) resolve(file string) (components.Set, error) {
	plan, err := a.plan(file)
	if err != nil {
		return components.Set{}, err
	}
	set, err := a.catalog.Resolve(plan)
	var problems labs.Problems
	if errors.As(err, &problems) {
		return components.Set{}, problems.At(file)
	}
	return set, err
}

// labFiles puts the lab files that a Matrix names in the Matrix's place.
func (a *app) labFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		data, err := os.ReadFile(arg)
		if err != nil || !labs.IsMatrix(data) {
			files = append(files, arg) // plan tells what is wrong with it
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

// software is the cache that this run obtains software from.
func (a *app) software() (artifacts.Cache, error) {
	self, err := os.Executable()
	return artifacts.Cache{Dir: a.cache, Self: self, Offline: os.Getenv("NETLAB_OFFLINE") != "", NodeImage: os.Getenv("NETLAB_NODE_IMAGE")}, err
}

// softwareFor is software for Nodes of a provider's.
func (a *app) softwareFor(plan topology.Plan) (artifacts.Cache, error) {
	cache, err := a.software()
	if shared, ok := a.providers[plan.Provider].(providers.KernelSharer); ok {
		cache.KernelHas = shared.KernelHas
	}
	return cache, err
}

// lab finds a lab by its name or its file; without either, the only one there is.
func (a *app) lab(args []string) (labs.Name, error) {
	if len(args) > 0 {
		return a.labNamed(args[0])
	}
	names, err := a.root.Labs()
	if err != nil {
		return labs.Name{}, err
	}
	switch len(names) {
	case 0:
		return labs.Name{}, hint.With(errors.New("there is no lab"), "make one with `netlab up FILE`")
	case 1:
		return names[0], nil
	}
	return labs.Name{}, hint.With(errors.New("there are several labs"), "name one of: "+listed(names))
}

// labNamed turns a lab's name, or the file of one, into its name. What is neither is refused
// before anything is looked at.
func (a *app) labNamed(arg string) (labs.Name, error) {
	if isFile(arg) {
		plan, err := a.plan(arg)
		return plan.Lab, err
	}
	return parseLab(arg)
}

// parseLab reads the name of a lab that a verb was given.
func parseLab(arg string) (labs.Name, error) {
	lab, err := labs.ParseName(arg)
	if err != nil {
		return lab, hint.With(err, "`netlab list` names the labs of this machine; a lab file is named by its path")
	}
	return lab, nil
}

// isFile tells the file of a lab from the name of one.
func isFile(arg string) bool {
	if strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml") {
		return true
	}
	if _, err := labs.ParseName(arg); err == nil {
		return false
	}
	info, err := os.Stat(arg)
	return err == nil && info.Mode().IsRegular()
}

// listed writes names one after another.
func listed(names []labs.Name) string { return strings.Join(texts(names), ", ") }

func texts(names []labs.Name) []string {
	var out []string
	for _, n := range names {
		out = append(out, n.String())
	}
	return out
}

// running finds a lab that runs, with its state.
func (a *app) running(ctx context.Context, args []string) (providers.Running, providers.State, error) {
	name, err := a.lab(args)
	if err != nil {
		return providers.Running{}, providers.State{}, err
	}
	return a.attached(ctx, name)
}

// attached gives a lab's machines and its state.
func (a *app) attached(ctx context.Context, name labs.Name) (providers.Running, providers.State, error) {
	state, err := a.root.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return providers.Running{}, state, a.noLab(name)
	}
	if err != nil {
		return providers.Running{}, state, err
	}
	if state.Phase == providers.PhaseStopped {
		return providers.Running{Plan: state.Plan}, state, state.NotUp()
	}
	running, err := a.providers[state.Plan.Provider].Attach(ctx, state.Plan, a.root.Dir(name))
	return running, state, err
}

// noLab says that there is no lab of a name, and which there are.
func (a *app) noLab(name labs.Name) error {
	known, _ := a.root.Labs()
	todo := "make one with `netlab up FILE`"
	if len(known) > 0 {
		todo = "there are: " + listed(known)
	}
	return hint.With(fmt.Errorf("there is no lab %q", name), todo)
}

func (a *app) progress() *progress {
	columns := width(a.stderr)
	return newProgress(a.stderr, columns > 0 && os.Getenv("TERM") != "dumb", columns, painterFor(a.stderr))
}

// width gives a terminal's columns, 0 for what is no terminal.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns < 20 {
		return 80
	}
	return columns
}
