package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/regular"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
)

// Machine finds a running machine of a lab; others may be off.
func (e Engine) Machine(ctx context.Context, lab labs.Name, name string) (providers.Machine, error) {
	running, _, err := e.attach(ctx, lab)
	if m, found := running.Machines[name]; found {
		return m, nil
	}
	var names []string
	for _, m := range running.Plan.Machines {
		names = append(names, m.Name)
	}
	if slices.Contains(names, name) || err != nil && len(names) == 0 {
		return nil, err
	}
	return nil, hint.With(fmt.Errorf("lab %s has no machine %q", lab, name), "its machines are "+strings.Join(names, ", "))
}

// Kubectl prepares kubectl against a lab. The caller sets the streams.
func (e Engine) Kubectl(ctx context.Context, lab labs.Name, args []string) (*exec.Cmd, error) {
	state, err := e.State(lab)
	if err != nil {
		return nil, err
	}
	if state.Phase == providers.PhaseStopped {
		return nil, state.NotUp()
	}
	program := state.Artifacts.Programs["kubectl"]
	if program == "" {
		return nil, hint.With(fmt.Errorf("lab %s is incomplete", lab), "continue with `netlab up "+state.File+"`")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasSuffix(strings.ToLower(name), "_proxy") { // a proxy of the user's shell is not in the lab
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "KUBECONFIG="+e.kubeconfig(lab))
	return cmd, nil
}

// Load loads an image archive into every Node of a lab.
func (e Engine) Load(ctx context.Context, lab labs.Name, archive string, p Progress) error {
	running, _, err := e.attach(ctx, lab)
	if err != nil {
		return err
	}
	return providers.LoadImage(ctx, running, e.Root.Dir(lab), archive, p.Step)
}

// Log is a machine's log file.
type Log struct {
	Name string // below the directory of all logs
	dir  string
}

// Open opens the log for reading. Machines write into their directories what they like: a link or
// a FIFO there is not a log.
func (l Log) Open() (*os.File, error) {
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return regular.Open(root, l.Name)
}

// Logs returns the logs of the machines whose names match a pattern (path.Match's). Those of
// virtual machines are fetched first; stale is why they may be out of date.
func (e Engine) Logs(ctx context.Context, lab labs.Name, pattern string) (found []Log, stale, err error) {
	if strings.ContainsRune(pattern, filepath.Separator) {
		return nil, nil, hint.With(fmt.Errorf("%q is not the name of a machine", pattern), fmt.Sprintf("`netlab status %s` lists its machines", lab))
	}
	if state, err := e.Root.Read(lab); err == nil && state.Plan.Capabilities.OwnKernel {
		stale = e.fetchLogs(ctx, lab, pattern)
	}
	dir := filepath.Join(e.Root.Dir(lab), "logs")
	files, _ := filepath.Glob(filepath.Join(dir, pattern, "*.log"))
	flat, _ := filepath.Glob(filepath.Join(dir, pattern+".log"))
	for _, file := range append(files, flat...) {
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return nil, stale, err
		}
		if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() {
			found = append(found, Log{name, dir})
		}
	}
	if len(found) == 0 {
		err = hint.With(fmt.Errorf("no logs found in %s", dir), "`netlab list` lists the labs, `netlab status LAB` their machines")
	}
	return found, stale, err
}

// fetchLogs fetches the logs inside virtual machines; attaching fetches the consoles of
// those on other machines.
func (e Engine) fetchLogs(ctx context.Context, lab labs.Name, pattern string) error {
	running, _, err := e.attach(ctx, lab)
	var all errgroup.Group
	for name, m := range running.Machines {
		if wanted, _ := filepath.Match(pattern, name); !wanted {
			continue
		}
		if f, ok := m.(providers.LogFetcher); ok {
			all.Go(func() error { return f.FetchLogs(ctx) })
		}
	}
	return errors.Join(err, all.Wait())
}
