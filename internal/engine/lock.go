package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/report"
)

// LockFile is where the lock of a lab file is.
func LockFile(file string) string { return file + ".lock" }

// Unlocked is the engine that reads no locks.
func (e Engine) Unlocked() Engine {
	e.noLocks = true
	return e
}

// lockOf reads the lock next to a lab file; nil without one.
func (e Engine) lockOf(file string) (*components.Lock, error) {
	if e.noLocks {
		return nil, nil
	}
	path := LockFile(file)
	text, err := labs.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lock, err := components.ParseLock(text)
	if err == nil && lock.Platform != artifacts.Platform {
		err = fmt.Errorf("it locks software for %s, and this machine is %s", lock.Platform, artifacts.Platform)
	}
	if err != nil {
		return nil, hint.With(fmt.Errorf("%s: %w", path, err), relock(file))
	}
	return &lock, nil
}

// locked is the engine whose default versions are those of a lock, which may be nil.
func (e Engine) locked(lock *components.Lock) Engine {
	if lock != nil {
		e.Catalog = e.Catalog.Prefer(lock.Components)
	}
	return e
}

// relock is what to do about a lock that does not fit its lab file.
func relock(file string) string {
	return fmt.Sprintf("`netlab lock %s` locks what the file gives now; without %s nothing is locked", file, LockFile(file))
}

// heeded compares the components of a lab file with its lock.
func heeded(set components.Set, file string) error {
	return components.Unlike("the software of "+file, set.Lock.Versions(set.Versions()))
}

// Heeds returns an error if software differs from a lab's lock, as far as that can be said without
// asking a source: what is cached, and what the lab of that name is made of.
func (e Engine) Heeds(set components.Set, file string) error {
	if set.Lock == nil {
		return nil
	}
	if err := e.Software.Unlike(set); err != nil {
		return err
	}
	state, err := e.Root.Read(set.Plan.Lab)
	var foreign *providers.VersionError
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.As(err, &foreign):
		return nil
	case err != nil:
		return err
	}
	return heeds(state, set, file)
}

// heeds returns an error if an existing lab is made of other software than its lock says, and Up
// would not change that.
func heeds(state providers.State, set components.Set, file string) error {
	made := state.Artifacts
	changes := topology.Compare(state.Plan, set.Plan)
	if set.Lock == nil || len(changes.Remake) > 0 || state.Phase == providers.PhaseDeleting || len(made.Ingredients) == 0 {
		return nil
	}
	lines := set.Lock.Digests(made.Ingredients) // others may be what changes
	if changes.None() {
		lines = append(set.Lock.Versions(made.Versions), set.Lock.Differences(made.Ingredients)...)
	}
	lab := set.Plan.Lab.String()
	return hint.With(components.Unlike("the software of lab "+lab, lines),
		fmt.Sprintf("`netlab down %s` and `netlab up %s` make the lab of what is locked", lab, file))
}

// Locked is a lock that Lock wrote.
type Locked struct {
	File    string
	Entries int
	Changed []string // how it differs from the one that was there
	Fresh   bool     // there was none, or none that could be read
}

// Lock obtains the software of a lab and writes its digests next to the lab file. Version is
// netlab's. The file's earlier lock decides nothing.
func (e Engine) Lock(ctx context.Context, file, version string, set components.Set, p Progress) (Locked, error) {
	provider, err := e.provider(set.Plan.Provider)
	if err != nil {
		return Locked{}, err
	}
	if err := e.lacksTools([]components.Set{set}); err != nil {
		return Locked{}, err
	}
	earlier, err := e.lockOf(file)
	if err != nil { // it is replaced
		earlier = nil
	}
	set.Lock = nil
	obtained, err := e.software(provider).Obtain(ctx, set, p.Step)
	if err != nil {
		return Locked{}, err
	}
	lock := components.NewLock(version, artifacts.Platform, obtained)
	text, err := lock.Text()
	if err != nil {
		return Locked{}, err
	}
	out := Locked{File: LockFile(file), Entries: len(lock.Ingredients), Fresh: earlier == nil}
	if earlier != nil {
		out.Changed = append(earlier.Versions(lock.Components), earlier.Differences(lock.Ingredients)...)
	}
	return out, atomicfile.Replace(out.File, text, 0o644)
}

// softwareOf is what a report says of a lab's software.
func softwareOf(made components.Artifacts) (all []report.Software) {
	for _, i := range made.Ingredients {
		all = append(all, report.Software{Name: i.Name, Digest: i.Digest, From: i.From})
	}
	return all
}
