package exercises_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"netlab.dev/netlab/exercises"
)

func TestScore(t *testing.T) {
	began := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ex := exercises.Exercise{Minutes: 10, Hints: []string{"a", "b", "c"}}
	for name, c := range map[string]struct {
		session exercises.Session
		after   time.Duration
		want    int
	}{
		"not started":                {exercises.Session{Phase: exercises.PhasePreparing}, 0, 0},
		"at once":                    {exercises.Session{Phase: exercises.PhaseStarted, Started: began}, time.Minute, 100},
		"a hint":                     {exercises.Session{Phase: exercises.PhaseStarted, Started: began, Hints: 1}, time.Minute, 80},
		"all hints, and late":        {exercises.Session{Phase: exercises.PhaseStarted, Started: began, Hints: 3}, time.Hour, 20},
		"solved in time, asked late": {exercises.Session{Phase: exercises.PhaseSolved, Started: began, Solved: began.Add(9 * time.Minute)}, time.Hour, 100},
		"shown":                      {exercises.Session{Phase: exercises.PhaseShown, Started: began}, time.Minute, 0},
	} {
		if got := ex.Score(c.session, began.Add(c.after)); got != c.want {
			t.Errorf("%s: score %d, want %d", name, got, c.want)
		}
	}
}

func TestSessionIsKept(t *testing.T) {
	dir := t.TempDir()
	if _, err := exercises.ReadSession(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a session of no lab: %v", err)
	}
	s := exercises.Session{Exercise: "a", File: "/a.yaml", Phase: exercises.PhaseStarted, Started: time.Now().UTC().Round(0), Hints: 2,
		Done: []exercises.Done{{Step: exercises.Step{Link: "w1:eth0"}}}}
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := exercises.ReadSession(dir)
	s.SchemaVersion = 1
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v (%v)\nwant %+v", got, err, s)
	}
	if err := os.WriteFile(filepath.Join(dir, "exercise.json"), []byte(`{"schemaVersion": 7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exercises.ReadSession(dir); err == nil {
		t.Error("a session of another netlab is read")
	}
	if err := errors.Join(exercises.RemoveSession(dir), exercises.RemoveSession(dir)); err != nil {
		t.Error(err)
	}
}

func TestParseObject(t *testing.T) {
	for text, want := range map[string]exercises.Object{
		"node/w1":                   {Kind: "node", Name: "w1"},
		"networkpolicy/shop/web":    {Kind: "networkpolicy", Namespace: "shop", Name: "web"},
		"bgppeers.metallb.io/m/one": {Kind: "bgppeers.metallb.io", Namespace: "m", Name: "one"},
		"pod":                       {},
		"pod//a":                    {},
		"a/b/c/d":                   {},
	} {
		got, err := exercises.ParseObject(text)
		if got != want || (err == nil) != (want != exercises.Object{}) {
			t.Errorf("%q: %+v (%v), want %+v", text, got, err, want)
		}
	}
}
