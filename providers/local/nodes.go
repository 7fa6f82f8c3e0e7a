package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// Attach returns a lab with its outside hosts and the Nodes that find finds. Nodes that are off
// are left out, with an error for each.
func Attach(plan topology.Plan, dir string, find func(topology.Machine) (providers.Machine, error)) (providers.Running, error) {
	running := providers.Running{Plan: plan, Kubeconfig: filepath.Join(dir, "kubeconfig"), Machines: map[string]providers.Machine{}}
	Hosts(&running, dir)
	var errs error
	for _, m := range plan.Nodes() {
		node, err := find(m)
		if errors.As(err, new(providers.OffError)) {
			running.Off = append(running.Off, m.Name)
		}
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		running.Machines[m.Name] = node
	}
	for _, m := range plan.Hosts() {
		if hostOf(plan.Lab, dir, m).PID() == 0 {
			running.Off = append(running.Off, m.Name)
		}
	}
	return running, hint.With(errs, "start what is missing with `netlab up`")
}

// NodeOf returns the Node with the given process of this machine as its PID 1, 0 if it is off.
func NodeOf(plan topology.Plan, m topology.Machine, pid int, logs string) (providers.Machine, error) {
	if pid == 0 {
		return nil, providers.Off(m)
	}
	return Machine{Lab: plan.Lab, Name: m.Name, PID: pid, Node: true, LogDir: logs}, nil
}

// recordFile, in a Node's directory, has what the Node was created from.
const recordFile = "machine.json"

// refuseDamaged returns an error if the record of a Node is there and damaged: the Node has data,
// and without its record nobody can tell whether it is still what the plan says.
func refuseDamaged(dir, name string) error {
	path := filepath.Join(dir, recordFile)
	var record struct { // a topology.Machine, or an object with one
		Name    string
		Machine struct{ Name string }
	}
	found, err := atomicfile.ReadJSON(path, &record)
	if err == nil && found && record.Name != name && record.Machine.Name != name {
		err = &atomicfile.DamagedError{Path: path, Err: errors.New("it has no machine of this name")}
	}
	if err != nil {
		return hint.With(fmt.Errorf("record of Node %s: %w", name, err),
			fmt.Sprintf("restore the file from a backup; or remove it, after which the next `netlab up` recreates %s and its data (etcd, images, volumes) are lost", name))
	}
	return nil
}

// RemoveExtra removes Nodes that are no longer in the plan or have changed in it, and Nodes whose
// creation did not complete, among those named and those with a directory in the lab's state
// directory. made returns what a Node was created from, false if that is unknown.
func RemoveExtra(plan topology.Plan, dir string, named []string, made func(name string) (topology.Machine, bool), remove func(name string) error) error {
	entries, err := os.ReadDir(filepath.Join(dir, "nodes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		named = append(named, e.Name())
	}
	for _, m := range plan.Nodes() { // all of them before anything is removed
		if err := refuseDamaged(filepath.Join(dir, "nodes", m.Name), m.Name); err != nil {
			return err
		}
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
