package providers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Snapshotter is a Provider that can restore a lab: the disks of all its Nodes at one moment, and
// their memory if it can. Outside hosts have nothing to restore.
type Snapshotter interface {
	// Save takes a named snapshot of a running lab, which then continues. Its files are in the
	// directory that SnapshotDir returns.
	Save(ctx context.Context, plan topology.Plan, dir, name string) error
	// Restore restores a snapshot of the same machines, whatever the current state of the lab. off
	// reports that the snapshot has no memory: the Nodes are off and have to be started.
	Restore(ctx context.Context, plan topology.Plan, dir, name string) (off bool, err error)
	// Snapshots lists the snapshots of a lab, the oldest first.
	Snapshots(dir string) ([]Snapshot, error)
}

// Snapshot describes a saved snapshot.
type Snapshot struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"` // of its files
}

// SnapshotDir is the directory of a snapshot in a lab's state directory.
func SnapshotDir(dir, name string) string { return filepath.Join(dir, "snapshots", name) }

// NoSnapshot is the error of a snapshot that a lab does not have.
func NoSnapshot(lab labs.Name, name string) error {
	return hint.With(fmt.Errorf("lab %s has no snapshot %q", lab, name), fmt.Sprintf("`netlab snapshot list %s` lists them", lab))
}

// SnapshotExists is the error of a name that a snapshot of the lab has already.
func SnapshotExists(lab labs.Name, name string) error {
	return hint.With(fmt.Errorf("lab %s already has a snapshot %q", lab, name), "choose another name")
}

// records are the files in a lab's state directory that say what is in its cluster. With a snapshot
// of the cluster they are saved and restored.
var records = []string{stateFile, "applied.json", "loaded.json"}

// recordsDir, in the directory of a snapshot, has the records of the lab.
const recordsDir = "records"

// Save takes a snapshot of a running lab, with netlab's own records of it.
func Save(ctx context.Context, root Root, s Snapshotter, state State, name string) error {
	dir := root.Dir(state.Plan.Lab)
	if state.Phase != PhaseUp {
		return state.NotUp()
	}
	if err := s.Save(ctx, state.Plan, dir, name); err != nil {
		return err
	}
	to := filepath.Join(SnapshotDir(dir, name), recordsDir)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, file := range records {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := cmp.Or(err, atomicfile.Write(filepath.Join(to, file), data, 0o600)); err != nil {
			return fmt.Errorf("save %s with snapshot %s: %w", file, name, err)
		}
	}
	return nil
}

// Restore restores a snapshot of a lab, starts its Nodes if it is one without memory, and waits for
// them as Start does.
func Restore(ctx context.Context, root Root, p Provider, s Snapshotter, state State, name string, step components.Step) error {
	lab, dir := state.Plan.Lab, root.Dir(state.Plan.Lab)
	if _, err := os.Stat(SnapshotDir(dir, name)); errors.Is(err, fs.ErrNotExist) {
		return NoSnapshot(lab, name)
	}
	from := filepath.Join(SnapshotDir(dir, name), recordsDir)
	was, err := readState(filepath.Join(from, stateFile), lab)
	none := errors.Is(err, fs.ErrNotExist) // a netlab saved it that kept no records
	if err != nil && !none {
		return fmt.Errorf("snapshot %s: %w", name, err)
	}
	if !none && !sameMachines(was.Plan, state.Plan) {
		return hint.With(fmt.Errorf("the machines of lab %s have changed since snapshot %q", lab, name), "restore the lab file and run `netlab up`, then restore the snapshot")
	}
	off, err := s.Restore(ctx, state.Plan, dir, name)
	if err != nil {
		return err
	}
	if !none {
		was.Phase, was.APIPort, was.Created, was.File, was.Artifacts.Self = state.Phase, state.APIPort, state.Created, state.File, state.Artifacts.Self
		if err := errors.Join(restoreRecords(from, dir), root.Write(was)); err != nil {
			return err
		}
	}
	if !off {
		return nil
	}
	_, err = Start(ctx, root, p, lab, step)
	return err
}

// sameMachines reports whether two plans have the same networks and machines, as far as a Node's
// disk depends on them.
func sameMachines(a, b topology.Plan) bool {
	return reflect.DeepEqual(a.Machines, b.Machines) && reflect.DeepEqual(a.Networks, b.Networks)
}

// restoreRecords restores all records but the state. Those that the snapshot lacks did not exist then.
func restoreRecords(from, dir string) error {
	for _, file := range records[1:] {
		data, err := os.ReadFile(filepath.Join(from, file))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = os.RemoveAll(filepath.Join(dir, file))
		case err == nil && !json.Valid(data):
			err = &atomicfile.DamagedError{Path: filepath.Join(from, file), Err: errors.New("it is not JSON")}
		case err == nil:
			err = atomicfile.Write(filepath.Join(dir, file), data, 0o600)
		}
		if err != nil {
			return fmt.Errorf("restore %s: %w", file, err)
		}
	}
	return nil
}
