package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// Attach gives a lab with its outside hosts and the Nodes that find finds. Those that do not
// run are left out, and each is an error.
func Attach(plan topology.Plan, dir string, find func(topology.Machine) (providers.Machine, error)) (providers.Running, error) {
	running := providers.Running{Plan: plan, Kubeconfig: filepath.Join(dir, "kubeconfig"), Machines: map[string]providers.Machine{}}
	Hosts(&running, dir)
	var errs error
	for _, m := range plan.Nodes() {
		node, err := find(m)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		running.Machines[m.Name] = node
	}
	return running, hint.With(errs, "start what is missing with `netlab up`")
}

// NodeOf gives the Node whose PID 1 is a process of this machine, 0 for one that does not run.
func NodeOf(plan topology.Plan, m topology.Machine, pid int, logs string) (providers.Machine, error) {
	if pid == 0 {
		return nil, NotRunning(m)
	}
	return Machine{Lab: plan.Lab, Name: m.Name, PID: pid, Node: true, LogDir: logs}, nil
}

// NotRunning is the error of a Node that is off.
func NotRunning(m topology.Machine) error { return fmt.Errorf("node %s does not run", m.Name) }

// RemoveExtra removes the Nodes that a plan no longer has, or has otherwise, and what is left
// of those that were not made whole: of those named and those with a directory in the lab's
// state directory. made gives what a Node was made from, false where that is not known.
func RemoveExtra(plan topology.Plan, dir string, named []string, made func(name string) (topology.Machine, bool), remove func(name string) error) error {
	entries, err := os.ReadDir(filepath.Join(dir, "nodes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		named = append(named, e.Name())
	}
	slices.Sort(named)
	for _, name := range slices.Compact(named) {
		m, planned := plan.Machine(name)
		if was, whole := made(name); planned && whole && reflect.DeepEqual(was, m) {
			continue
		}
		if err := remove(name); err != nil {
			return fmt.Errorf("remove Node %s: %w", name, err)
		}
	}
	return nil
}
