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

	"netlab.dev/netlab/components"
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
			return nil, providers.WithHint(err, "set NETLAB_CACHE_DIR")
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
		return topology.Plan{}, providers.WithHint(err, "give the path of a lab file, such as scenarios/quickstart.yaml")
	}
	return topology.Load(file, data, a.known())
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

// resolver obtains software for this run.
func (a *app) resolver() (components.Resolver, error) {
	self, err := os.Executable()
	return components.Resolver{Catalog: a.catalog, Cache: a.cache, Self: self, Offline: os.Getenv("NETLAB_OFFLINE") != "", NodeImage: os.Getenv("NETLAB_NODE_IMAGE")}, err
}

// resolverFor obtains software for Nodes of a provider's.
func (a *app) resolverFor(plan topology.Plan) (components.Resolver, error) {
	resolver, err := a.resolver()
	if shared, ok := a.providers[plan.Provider].(providers.KernelSharer); ok {
		resolver.KernelHas = shared.KernelHas
	}
	return resolver, err
}

// lab finds a lab by its name or its file; without either, the only one there is.
func (a *app) lab(args []string) (string, error) {
	if len(args) > 0 {
		return a.labNamed(args[0])
	}
	names, err := a.root.Labs()
	if err != nil {
		return "", err
	}
	switch len(names) {
	case 0:
		return "", providers.WithHint(errors.New("there is no lab"), "make one with `netlab up FILE`")
	case 1:
		return names[0], nil
	}
	return "", providers.WithHint(errors.New("there are several labs"), "name one of: "+strings.Join(names, ", "))
}

// labNamed turns a lab's name, or the file of one, into its name.
func (a *app) labNamed(arg string) (string, error) {
	if !strings.HasSuffix(arg, ".yaml") && !strings.HasSuffix(arg, ".yml") {
		return arg, nil
	}
	plan, err := a.plan(arg)
	return plan.Lab, err
}

// running finds a lab that runs, with its state.
func (a *app) running(ctx context.Context, args []string) (providers.Running, providers.State, error) {
	name, err := a.lab(args)
	if err != nil {
		return providers.Running{}, providers.State{}, err
	}
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
func (a *app) noLab(name string) error {
	known, _ := a.root.Labs()
	hint := "make one with `netlab up FILE`"
	if len(known) > 0 {
		hint = "there are: " + strings.Join(known, ", ")
	}
	return providers.WithHint(fmt.Errorf("there is no lab %q", name), hint)
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
