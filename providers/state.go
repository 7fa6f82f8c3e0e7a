package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/lockfile"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// State is the recorded state of a lab. It is written before each step so that an interrupted
// lab can be continued or removed.
type State struct {
	SchemaVersion int `json:"schemaVersion"` // of the JSON; Root.Write sets it

	Plan      topology.Plan        `json:"plan"`
	File      string               `json:"file"`            // the lab file, absolute
	Phase     string               `json:"phase"`           // one of the phases below
	Artifacts components.Artifacts `json:"artifacts"`       // the software that the machines run
	Created   time.Time            `json:"created"`         // when `up` was first started
	APIPort   int                  `json:"apiPort"`         // loopback port of this machine that reaches the API server
	Nodes     []string             `json:"nodes,omitempty"` // names of Nodes that the cluster has or had

	Manifests map[string]string `json:"manifests,omitempty"` // hashes of the user's objects that were applied, by name
}

// stateVersion is the SchemaVersion of the states that this netlab writes, and the only one
// that it reads: the fields of a Plan differ between versions. States before version 1 had no
// schema version.
const stateVersion = 1

// VersionError reports that another version of netlab wrote the state of a lab. The State
// returned with it has only the lab's name, provider, file, phase and time.
type VersionError struct {
	Lab     labs.Name
	File    string
	Version int
}

func (e *VersionError) Error() string {
	age := "an earlier"
	if e.Version > stateVersion {
		age = "a later"
	}
	return fmt.Sprintf("lab %s was made by %s version of netlab: its state has schema version %d, this netlab reads %d", e.Lab, age, e.Version, stateVersion)
}

// Hint says how to continue.
func (e *VersionError) Hint() string {
	return fmt.Sprintf("`netlab down %s` removes the lab, `netlab up %s` recreates it", e.Lab, e.File)
}

// The phases of a lab. A lab in creating can only be continued by `up`. In the phases from up to
// starting the lab has been created completely, and `stop` and `start` change between them.
const (
	PhaseCreating = "creating"
	PhaseUp       = "up"
	PhaseStopping = "stopping"
	PhaseStopped  = "stopped"
	PhaseStarting = "starting"
	PhaseDeleting = "deleting"
)

// Made reports whether the lab has been created completely; it may be stopped.
func (s State) Made() bool {
	return slices.Contains([]string{PhaseUp, PhaseStopping, PhaseStopped, PhaseStarting}, s.Phase)
}

// NotUp returns the error of a lab that is not up, with a hint how to bring it up.
func (s State) NotUp() error {
	how := fmt.Sprintf("`netlab up %s` continues, `netlab down %s` removes it", s.File, s.Plan.Lab)
	switch {
	case s.Phase == PhaseStopped:
		return hint.With(fmt.Errorf("lab %s is stopped", s.Plan.Lab), fmt.Sprintf("`netlab start %s` starts it", s.Plan.Lab))
	case s.Made():
		how = fmt.Sprintf("`netlab start %s` starts it", s.Plan.Lab)
	}
	return hint.With(fmt.Errorf("lab %s is not up: its phase is %q", s.Plan.Lab, s.Phase), how)
}

// Root is the directory that holds the state of all labs.
type Root string

// DefaultRoot is $NETLAB_STATE_DIR, or /var/lib/netlab.
func DefaultRoot() Root {
	if dir := os.Getenv("NETLAB_STATE_DIR"); dir != "" {
		return Root(dir)
	}
	return "/var/lib/netlab"
}

// Dir is the state directory of a lab, whether it exists or not.
func (r Root) Dir(lab labs.Name) string { return filepath.Join(string(r), lab.Label()) }

// Labs lists the labs that have a state directory; directories that are not a lab's are ignored.
func (r Root) Labs() ([]labs.Name, error) {
	entries, err := os.ReadDir(string(r))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found []labs.Name // sorted, as the entries are
	for _, e := range entries {
		if lab, bad := labs.ParseName(e.Name()); bad == nil && e.IsDir() && r.Marked(lab) {
			found = append(found, lab)
		}
	}
	return found, err
}

// Lock keeps other netlab processes from changing the lab until release is called. It fails with
// a *BusyError if another process holds the lock, if wait is true after lockLimit.
func (r Root) Lock(lab labs.Name, wait bool) (release func(), err error) {
	limit := time.Duration(0)
	if wait {
		limit = lockLimit
	}
	return r.lock(context.Background(), lab, "", limit, nil)
}

// LockVerify keeps other netlab processes from verifying the lab, or from changing it by `up`,
// until release is called: two verifications at once would delete each other's policies. It waits
// until another holder is done, at most lockLimit, after it has called waiting.
func (r Root) LockVerify(ctx context.Context, lab labs.Name, waiting func(*BusyError)) (release func(), err error) {
	return r.lock(ctx, lab, ".verify", lockLimit, waiting)
}

// LockExercise keeps other netlab processes from the exercise in a lab until release is called. It
// is taken before the other locks: an exercise changes its lab and verifies it.
func (r Root) LockExercise(lab labs.Name) (release func(), err error) {
	return r.lock(context.Background(), lab, ".exercise", 0, nil)
}

// lockLimit bounds the wait for a lock of a lab: `up` of a large lab takes minutes.
const lockLimit = 15 * time.Minute

func (r Root) lock(ctx context.Context, lab labs.Name, what string, limit time.Duration, waiting func(*BusyError)) (release func(), err error) {
	if err := lab.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(string(r), 0o755); err != nil && !lockfile.Unwritable(err) {
		return nil, fmt.Errorf("create the state directory: %w", err)
	}
	busy := func(e *lockfile.BusyError) *BusyError { return &BusyError{Lab: lab, Holder: e.Holder()} }
	release, err = lockfile.Take(ctx, filepath.Join(string(r), "."+lab.Label()+what+".lock"), limit, func(e *lockfile.BusyError) {
		if waiting != nil {
			waiting(busy(e))
		}
	})
	var held *lockfile.BusyError
	if errors.As(err, &held) && ctx.Err() == nil {
		return nil, busy(held)
	}
	return release, err
}

// BusyError reports that another netlab process uses the lab.
type BusyError struct {
	Lab    labs.Name
	Holder string // "process 4711 (netlab up lab.yaml)"
}

func (e *BusyError) Error() string { return fmt.Sprintf("lab %s is in use by %s", e.Lab, e.Holder) }

// Hint says what to do about it.
func (e *BusyError) Hint() string { return "wait for it to end, or stop it with Ctrl-C first" }

// DamagedError reports that a state exists and cannot be read.
type DamagedError struct {
	Lab labs.Name
	Err error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("state of lab %s: %v", e.Lab, e.Err) }

func (e *DamagedError) Unwrap() error { return e.Err }

// Hint says how to continue.
func (e *DamagedError) Hint() string {
	return fmt.Sprintf("restore the file from a backup, or remove the lab with `netlab down %s`", e.Lab)
}

// Read reads the state of a lab. The error is fs.ErrNotExist if there is none, a *VersionError if
// another version of netlab wrote it, and a *DamagedError if it is there and not whole.
func (r Root) Read(lab labs.Name) (State, error) {
	if err := lab.Check(); err != nil {
		return State{}, err
	}
	return readState(filepath.Join(r.Dir(lab), stateFile), lab)
}

func readState(path string, lab labs.Name) (State, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return State{}, err
	}
	s, err := outline(data, lab)
	var other *VersionError
	if errors.As(err, &other) {
		return s, err
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err == nil {
		err = s.whole()
	}
	if err != nil {
		return State{}, &DamagedError{lab, &atomicfile.DamagedError{Path: path, Err: err}}
	}
	return s, nil
}

// whole returns what a state lacks that every lab has.
func (s State) whole() error {
	if len(s.Plan.WithRole(topology.RoleControlPlane)) == 0 {
		return errors.New("its plan has no control plane")
	}
	return nil
}

// header has the fields of every schema version.
type header struct {
	SchemaVersion int `json:"schemaVersion"`
	Plan          struct {
		Lab      labs.Name `json:"lab"`
		Provider string    `json:"provider"`
	} `json:"plan"`
	File    string    `json:"file"`
	Phase   string    `json:"phase"`
	Created time.Time `json:"created"`
}

// outline reads the fields that the state of a lab has in every schema version.
func outline(data []byte, lab labs.Name) (s State, err error) {
	var h header
	if err := json.Unmarshal(data, &h); err != nil {
		return s, err
	}
	if h.Plan.Lab != lab {
		return s, fmt.Errorf("it belongs to lab %s", h.Plan.Lab)
	}
	s.SchemaVersion, s.Plan.Lab, s.Plan.Provider = h.SchemaVersion, h.Plan.Lab, h.Plan.Provider
	s.File, s.Phase, s.Created = h.File, h.Phase, h.Created
	if h.SchemaVersion != stateVersion {
		return s, &VersionError{Lab: lab, File: h.File, Version: h.SchemaVersion}
	}
	return s, nil
}

// Write replaces the state of a lab atomically.
func (r Root) Write(s State) error {
	if err := s.Plan.Lab.Check(); err != nil {
		return err
	}
	s.SchemaVersion = stateVersion
	if err := r.Claim(s.Plan.Lab); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(r.Dir(s.Plan.Lab), stateFile), data, 0o600)
}
