package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"netlab.dev/netlab/exercises"
	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/verify/checks"
)

// ExerciseStatus is an exercise, and how far it got in its lab.
type ExerciseStatus struct {
	Exercise string `json:"exercise"`
	Title    string `json:"title"`
	Chapter  string `json:"chapter"`
	Lab      string `json:"lab"`
	Minutes  int    `json:"minutes"`         // that it should take
	Phase    string `json:"phase,omitempty"` // of exercises.Session; "" if it does not run

	Story    string   `json:"story,omitempty"`
	Hints    []string `json:"hints,omitempty"` // that were shown
	HintsOf  int      `json:"hintsOf"`         // how many there are
	Checks   int      `json:"checks"`          // that found it unsolved
	Seconds  int      `json:"seconds"`         // since its start, until it was solved
	Score    int      `json:"score"`           // 0 to 100
	Solved   bool     `json:"solved"`
	Wrong    []Wrong  `json:"wrong,omitempty"`    // what `start`, `reset` and `check` found
	Solution string   `json:"solution,omitempty"` // once it is solved
}

// ExerciseKnown is what an exercise file may name.
func (e Engine) ExerciseKnown() exercises.Known {
	return exercises.Known{Labs: e.Unlocked().Known(), Paths: checks.IDs()}
}

// Exercises lists the exercises of a folder. The error is labs.Problems of all that are not valid.
func (e Engine) Exercises(dir string) (all []exercises.Exercise, err error) {
	names, err := exercises.Names(dir)
	if err != nil {
		return nil, err
	}
	var problems labs.Problems
	for _, name := range names {
		ex, err := exercises.Open(dir, name, e.ExerciseKnown())
		var found labs.Problems
		if errors.As(err, &found) {
			problems = append(problems, found...)
		} else if err != nil {
			return nil, err
		} else {
			all = append(all, ex)
		}
	}
	if len(problems) > 0 {
		return all, problems
	}
	return all, nil
}

// Exercise reads an exercise of a folder.
func (e Engine) Exercise(dir, name string) (exercises.Exercise, error) {
	return exercises.Open(dir, name, e.ExerciseKnown())
}

// ExerciseStatus reports how far an exercise got, whether it runs or not.
func (e Engine) ExerciseStatus(ex exercises.Exercise) (ExerciseStatus, error) {
	s, err := e.sessionOf(ex)
	var none notStarted
	if err != nil && !errors.As(err, &none) {
		return ExerciseStatus{}, err
	}
	return statusOf(ex, s), nil
}

func statusOf(ex exercises.Exercise, s exercises.Session) ExerciseStatus {
	now := time.Now()
	status := ExerciseStatus{Exercise: ex.Name, Title: ex.Title, Chapter: ex.Chapter, Lab: ex.Of.String(), Minutes: ex.Minutes, Phase: s.Phase,
		Hints: ex.Hints[:min(s.Hints, len(ex.Hints))], HintsOf: len(ex.Hints), Checks: s.Checks,
		Seconds: int(s.Took(now).Seconds()), Score: ex.Score(s, now)}
	if s.Phase != "" {
		status.Story = ex.Story
	}
	if status.Solved = s.Phase == exercises.PhaseSolved || s.Phase == exercises.PhaseShown; status.Solved {
		status.Solution = ex.Solution.Text
	}
	return status
}

// notStarted is the error for an exercise that does not run in its lab.
type notStarted struct{ ex exercises.Exercise }

func (n notStarted) Error() string { return fmt.Sprintf("exercise %s is not started", n.ex.Name) }

// Hint says how to start it.
func (n notStarted) Hint() string {
	return fmt.Sprintf("start it with `netlab exercise start %s`", n.ex.Name)
}

// sessionOf reads the session of an exercise. The error is notStarted if there is none.
func (e Engine) sessionOf(ex exercises.Exercise) (exercises.Session, error) {
	s, err := exercises.ReadSession(e.Root.Dir(ex.Of))
	if errors.Is(err, fs.ErrNotExist) || err == nil && s.File != ex.File {
		return exercises.Session{}, notStarted{ex}
	}
	return s, err
}

// StartExercise brings the lab of an exercise up, adds its objects, sees that all is as expected,
// breaks it, and sees that it is broken. Another exercise of the lab is taken back first.
func (e Engine) StartExercise(ctx context.Context, ex exercises.Exercise, p Progress) (ExerciseStatus, error) {
	return e.exercising(ex, func(w *worker) error {
		if w.err == nil && w.session.File == ex.File && w.session.Phase == exercises.PhaseStarted {
			return hint.With(fmt.Errorf("exercise %s is started", ex.Name), fmt.Sprintf("`netlab exercise reset %s` starts it again", ex.Name))
		}
		return w.begin(ctx, 0, p)
	})
}

// ResetExercise takes back what was done to the objects of an exercise, its faults included, and
// starts it again. The hints that were shown stay known.
func (e Engine) ResetExercise(ctx context.Context, ex exercises.Exercise, p Progress) (ExerciseStatus, error) {
	return e.exercising(ex, func(w *worker) error {
		if err := w.started(); err != nil {
			return err
		}
		return w.begin(ctx, w.session.Hints, p)
	})
}

// HintExercise shows one more hint; of an exercise that is solved those that were shown.
func (e Engine) HintExercise(ex exercises.Exercise) (ExerciseStatus, error) {
	return e.exercising(ex, func(w *worker) error {
		if err := w.started(); err != nil {
			return err
		}
		if w.session.Phase == exercises.PhaseStarted {
			w.session.Hints = min(w.session.Hints+1, len(ex.Hints))
		}
		return w.write()
	})
}

// CheckExercise asks the paths of a started exercise, and says which are not as expected.
func (e Engine) CheckExercise(ctx context.Context, ex exercises.Exercise, p Progress) (ExerciseStatus, error) {
	return e.exercising(ex, func(w *worker) error {
		if err := w.started(); err != nil {
			return err
		}
		done := p.Step("ask its paths")
		err := w.check(ctx, 0, unseen{p})
		done(err)
		if err != nil {
			return err
		}
		switch {
		case w.session.Phase != exercises.PhaseStarted:
		case w.solved():
			w.session.Phase, w.session.Solved = exercises.PhaseSolved, time.Now()
		default:
			w.session.Checks++
		}
		return w.write()
	})
}

// SolveExercise mends the lab as the exercise says, and sees that it is mended.
func (e Engine) SolveExercise(ctx context.Context, ex exercises.Exercise, p Progress) (ExerciseStatus, error) {
	return e.exercising(ex, func(w *worker) error {
		if err := w.started(); err != nil {
			return err
		}
		if w.session.Phase == exercises.PhaseStarted {
			w.session.Phase, w.session.Solved = exercises.PhaseShown, time.Now()
		}
		if err := w.mend(ctx, p); err != nil {
			return err
		}
		err := w.await(ctx, "see that it is solved", p, true)
		if err == nil && !w.solved() {
			err = hint.With(fmt.Errorf("the solution of exercise %s leaves %s", ex.Name, w.wrong[0]),
				fmt.Sprintf("`netlab exercise reset %s` takes back what else was changed", ex.Name))
		}
		return err
	})
}

// NextExercise takes an exercise back and starts the one after it in its folder. Its lab stays as it
// was before the exercise.
func (e Engine) NextExercise(ctx context.Context, dir string, ex exercises.Exercise, p Progress) (next exercises.Exercise, status ExerciseStatus, err error) {
	names, err := exercises.Names(dir)
	if err != nil {
		return next, status, err
	}
	at := slices.Index(names, ex.Name) + 1
	if at == len(names) {
		return next, status, hint.With(fmt.Errorf("%s is the last exercise of %s", ex.Name, dir), fmt.Sprintf("`netlab down %s` removes its lab", ex.Of))
	}
	if next, err = e.Exercise(dir, names[at]); err != nil {
		return next, status, err
	}
	if next.Of != ex.Of {
		_, err = e.exercising(ex, func(w *worker) error {
			if w.started() != nil {
				return nil
			}
			return w.clear(ctx, p)
		})
	}
	if err == nil {
		status, err = e.StartExercise(ctx, next, p)
	}
	return next, status, err
}

// exercising calls act with the session in an exercise's lab, whosever it is, while no other process
// changes it.
func (e Engine) exercising(ex exercises.Exercise, act func(*worker) error) (ExerciseStatus, error) {
	release, err := e.Root.LockExercise(ex.Of)
	if err != nil {
		return ExerciseStatus{}, err
	}
	defer release()
	w := &worker{e: e, ex: ex}
	w.session, w.err = exercises.ReadSession(e.Root.Dir(ex.Of))
	if w.err != nil && !errors.Is(w.err, fs.ErrNotExist) {
		return ExerciseStatus{}, w.err
	}
	err = act(w)
	status := statusOf(ex, w.session)
	if status.Wrong = w.wrong; len(w.wrong) > 0 {
		status.Solved = false // now, whatever it was before
	}
	return status, err
}

// exerciseLab returns the lab file of an exercise; the text of one that is in the exercise is kept in
// the cache.
func (e Engine) exerciseLab(ex exercises.Exercise) (string, error) {
	if file := ex.LabFile(); file != "" {
		return file, nil
	}
	dir := filepath.Join(e.Software.Dir, "exercises")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, ex.Of.Label()+".yaml")
	return file, atomicfile.Write(file, []byte(ex.Lab.Inline), 0o644)
}
