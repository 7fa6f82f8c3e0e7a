package exercises

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
)

// Session is the record of an exercise that runs in a lab, kept in the lab's state directory. It is
// written before each step, so that an interrupted exercise can be undone, and goes with the lab.
type Session struct {
	SchemaVersion int `json:"schemaVersion"` // of the JSON; Write sets it

	Exercise string    `json:"exercise"`
	File     string    `json:"file"` // of the exercise, absolute
	Phase    string    `json:"phase"`
	Objects  string    `json:"objects,omitempty"` // that it added to the lab
	Done     []Done    `json:"done,omitempty"`    // its faults, and the steps of its solution
	Started  time.Time `json:"started,omitzero"`  // when the lab was broken
	Solved   time.Time `json:"solved,omitzero"`
	Hints    int       `json:"hints"`  // that were shown
	Checks   int       `json:"checks"` // that found it unsolved
}

// The phases of a session.
const (
	PhasePreparing = "preparing" // objects and faults are on their way
	PhaseStarted   = "started"
	PhaseSolved    = "solved" // by the learner, as `check` saw
	PhaseShown     = "shown"  // solved by `solve`
)

// Done is a step that was, or was about to be, taken, with what it needs to be taken back.
type Done struct {
	Step   Step              `json:"step"`
	Before []json.RawMessage `json:"before,omitempty"` // objects as they were
}

// sessionVersion is the SchemaVersion of the sessions that this netlab writes and reads.
const sessionVersion = 1

const sessionFile = "exercise.json"

// ReadSession reads the session in a lab's state directory. The error is fs.ErrNotExist if none runs
// there.
func ReadSession(dir string) (s Session, err error) {
	path := filepath.Join(dir, sessionFile)
	found, err := atomicfile.ReadJSON(path, &s)
	switch {
	case err != nil:
	case !found:
		err = fs.ErrNotExist
	case s.SchemaVersion != sessionVersion:
		err = hint.With(fmt.Errorf("%s has schema version %d, this netlab reads %d", path, s.SchemaVersion, sessionVersion), "remove the lab with `netlab down`, and start the exercise again")
	}
	return s, err
}

// Write replaces the session in a lab's state directory atomically.
func (s Session) Write(dir string) error {
	s.SchemaVersion = sessionVersion
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, sessionFile), data, 0o600)
}

// RemoveSession removes it.
func RemoveSession(dir string) error {
	err := os.Remove(filepath.Join(dir, sessionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// The parts of a score. The hints share one, whatever their number; the other is for the time.
const (
	fullScore    = 100
	hintsScore   = 60
	overdueScore = 20
)

// Score is what a session is worth now, 0 to 100: of 100, all hints together take 60 and more than
// the exercise's minutes take 20. A solution that netlab showed is worth nothing.
func (ex Exercise) Score(s Session, now time.Time) int {
	if s.Phase == PhaseShown || s.Started.IsZero() {
		return 0
	}
	score := fullScore
	if n := len(ex.Hints); n > 0 {
		score -= hintsScore * min(s.Hints, n) / n
	}
	if s.Took(now) > time.Duration(ex.Minutes)*time.Minute {
		score -= overdueScore
	}
	return score
}

// Took is the time since the lab was broken, until it was solved.
func (s Session) Took(now time.Time) time.Duration {
	switch {
	case s.Started.IsZero():
		return 0
	case !s.Solved.IsZero():
		now = s.Solved
	}
	return now.Sub(s.Started).Round(time.Second)
}
