package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/exercises"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// worker changes the lab of an exercise, with the record of what it does.
type worker struct {
	e       Engine
	ex      exercises.Exercise
	session exercises.Session // that is in the lab
	err     error             // fs.ErrNotExist if none is
	wrong   []Wrong           // that the last check found
}

func (w *worker) dir() string { return w.e.Root.Dir(w.ex.Of) }

func (w *worker) write() error { return w.session.Write(w.dir()) }

// started returns an error unless the lab is broken, or was, as the exercise says.
func (w *worker) started() error {
	switch {
	case w.err != nil || w.session.File != w.ex.File:
		return notStarted{w.ex}
	case w.session.Phase == exercises.PhasePreparing:
		return hint.With(fmt.Errorf("exercise %s was interrupted while it was prepared", w.ex.Name), fmt.Sprintf("`netlab exercise start %s` continues", w.ex.Name))
	}
	return nil
}

// begin brings the lab to the start of the exercise, from whatever it is. What an earlier session did
// is taken back before `up`, which would wait for what is broken, and again after it: without an API
// server it cannot be undone.
func (w *worker) begin(ctx context.Context, hints int, p Progress) error {
	var earlier error
	if w.err == nil {
		if _, up := w.e.State(w.ex.Of); up == nil {
			earlier = w.clear(ctx, p)
		}
	}
	if err := w.up(ctx, p); err != nil {
		return err
	}
	if earlier != nil {
		if err := w.clear(ctx, p); err != nil {
			return err
		}
	}
	w.session = exercises.Session{Exercise: w.ex.Name, File: w.ex.File, Phase: exercises.PhasePreparing, Objects: w.ex.Adds, Hints: hints}
	w.err = nil
	if err := w.write(); err != nil {
		return err
	}
	if err := w.add(ctx, p); err != nil {
		return err
	}
	err := w.await(ctx, "see that all is as expected before", p, true)
	if err == nil && !w.solved() {
		err = hint.With(fmt.Errorf("exercise %s does not begin with a sound lab: %s", w.ex.Name, w.wrong[0]), fmt.Sprintf("`netlab verify %s` says more", w.ex.Of))
	}
	if err != nil {
		return err
	}
	done := p.Step("break it")
	err = w.all(ctx, w.ex.Faults)
	done(err)
	if err != nil {
		return err
	}
	err = w.await(ctx, "see that it is broken", p, false)
	if err == nil && w.solved() {
		err = hint.With(fmt.Errorf("the faults of exercise %s have no effect on lab %s", w.ex.Name, w.ex.Of), "its paths are as expected in spite of them; see its faults and solved")
	}
	if err != nil {
		return err
	}
	w.session.Phase, w.session.Started = exercises.PhaseStarted, time.Now()
	return w.write()
}

// up brings the lab up as its file says.
func (w *worker) up(ctx context.Context, p Progress) error {
	file, err := w.e.exerciseLab(w.ex)
	if err != nil {
		return err
	}
	set, _, err := w.e.Resolve(file)
	if err != nil {
		return err
	}
	_, err = w.e.Up(ctx, set, UpOptions{File: file}, p)
	return err
}

// clear takes back what a session did, its objects included, and ends it.
func (w *worker) clear(ctx context.Context, p Progress) (err error) {
	done := p.Step("take back exercise " + w.session.Exercise)
	defer func() { done(err) }()
	if err := w.undo(ctx, len(w.session.Done)); err != nil {
		return err
	}
	if err := w.deleteObjects(ctx, w.session.Objects); err != nil {
		return err
	}
	if err := exercises.RemoveSession(w.dir()); err != nil {
		return err
	}
	w.session, w.err = exercises.Session{}, fs.ErrNotExist
	return nil
}

// mend solves the exercise: by the steps of its solution, else by undoing its faults. Its objects are
// made what they were first, for those that an attempt to solve it has changed or deleted.
func (w *worker) mend(ctx context.Context, p Progress) (err error) {
	done := p.Step("mend it")
	defer func() { done(err) }()
	if err := errors.Join(w.write(), w.apply(ctx)); err != nil {
		return err
	}
	if steps := w.ex.Solution.Steps; len(steps) > 0 {
		return w.all(ctx, steps)
	}
	return w.undo(ctx, len(w.session.Done))
}

// all takes steps one after another. Each is recorded before it is taken.
func (w *worker) all(ctx context.Context, steps []exercises.Step) error {
	for _, s := range steps {
		done := exercises.Done{Step: s}
		var err error
		if done.Before, err = w.before(ctx, s); err != nil {
			return err
		}
		w.session.Done = append(w.session.Done, done)
		if err := w.write(); err != nil {
			return err
		}
		if err := w.take(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// undo takes back the last n steps, the latest first.
func (w *worker) undo(ctx context.Context, n int) error {
	var errs error
	for _, d := range slices.Backward(w.session.Done[len(w.session.Done)-n:]) {
		errs = errors.Join(errs, w.takeBack(ctx, d))
	}
	return errs
}

// Wrong is a path of an exercise that is not as expected. It says what a user of the cluster sees, not
// the cause.
type Wrong struct {
	Path     string `json:"path"` // id: mine for those of the exercise
	From     string `json:"from"`
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	Expected string `json:"expected"`
	Observed string `json:"observed"`
}

func (w Wrong) String() string {
	return fmt.Sprintf("%s → %s (%s): expected %s, observed %s", w.From, w.To, w.Protocol, w.Expected, w.Observed)
}

// solved reports what the last check found.
func (w *worker) solved() bool { return len(w.wrong) == 0 }

// check asks the paths of the exercise, and keeps what is wrong. settle is how long one is asked
// again; 0: as long as `netlab verify` does.
func (w *worker) check(ctx context.Context, settle time.Duration, p Progress) error {
	only := slices.Clone(w.ex.Solved.Verify)
	if len(w.ex.Solved.Paths) > 0 {
		only = append(only, checks.Mine)
	}
	r, err := w.e.Verify(ctx, w.ex.Of, VerifyOptions{Paths: w.ex.Solved.Paths, Extent: checks.Extent{Only: only}, Wait: readyLimit, Settle: settle}, p)
	w.wrong = wrongOf(r.Report.Paths)
	return err
}

// wrongOf are the paths that failed or could not be probed, each once.
func wrongOf(paths []report.Result) (wrong []Wrong) {
	for _, r := range paths {
		if r.Outcome != report.Fail && r.Outcome != report.Broken {
			continue
		}
		x := Wrong{Path: r.ID, From: r.From.Name, To: r.To.Name, Protocol: r.Protocol, Expected: r.Expected, Observed: symptom(r)}
		if r.Expected == report.Unreachable && r.ID == checks.Mine {
			x.Expected = "denied"
		}
		if !slices.Contains(wrong, x) {
			wrong = append(wrong, x)
		}
	}
	return wrong
}

// symptom is what the client of a path that is not as expected sees. The rest of a reason is a cause,
// and the answer.
func symptom(r report.Result) string {
	for _, p := range r.Properties {
		switch {
		case p.OK:
		case p.Name == "answer":
			return p.Observed
		default:
			return p.Name + " " + p.Observed
		}
	}
	for _, seen := range []string{"refused", "unreachable", "no reply in time"} {
		if strings.HasPrefix(r.Reason, seen) {
			return seen
		}
	}
	if status, is := strings.CutPrefix(r.Reason, "HTTP status "); is {
		status, _, _ = strings.Cut(status, ":")
		return "HTTP status " + status
	}
	return "no answer"
}

const (
	readyLimit = 10 * time.Second // for what a fault may have taken away for good, such as the cluster's DNS
	awaitLimit = 2 * time.Minute  // for a change in the cluster to be seen by its paths
	awaitPause = time.Second
)

// await checks until the exercise is solved, or is not, as wanted, for awaitLimit at most.
func (w *worker) await(ctx context.Context, step string, p Progress, solved bool) (err error) {
	done := p.Step(step)
	defer func() { done(err) }()
	for began := time.Now(); ; {
		if err = w.check(ctx, awaitPause, unseen{p}); err != nil || w.solved() == solved || time.Since(began) > awaitLimit {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(awaitPause):
		}
	}
}

// unseen is a Progress without steps: those of a check that is repeated.
type unseen struct{ Progress }

func (unseen) Step(string) func(error) { return func(error) {} }

func (unseen) Changing(string) (func(error), func(string)) { return func(error) {}, func(string) {} }
