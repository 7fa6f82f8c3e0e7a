package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/exercises"
	"netlab.dev/netlab/providers/providertest"
)

const nameOfExercises = "nlt-exercises"

// TestExercises does exercises one after another in one lab: each is unsolved, is solved by its
// solution, and is unsolved again after a reset. $NETLAB_TEST_EXERCISES lists others than these five;
// all means all.
func TestExercises(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	dir := filepath.Join(l.dir, "exercises")
	if err := os.CopyFS(dir, os.DirFS("../scenarios/exercises")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "labs/workshop.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(replaced(t, string(data), "{name: workshop}", "{name: "+nameOfExercises+"}")), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &lab{labs: l, name: nameOfExercises, file: file}
	t.Cleanup(func() { b.remove(t) })

	names := []string{"policy-wrong-label", "service-target-port", "pool-outside-lan", "nodeport-firewall", "ingress-class"}
	if wanted := os.Getenv("NETLAB_TEST_EXERCISES"); wanted == "all" {
		if names, err = exercises.Names(dir); err != nil {
			t.Fatal(err)
		}
	} else if wanted != "" {
		names = strings.Split(wanted, ",")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { b.exercise(t, dir, name) })
	}
	b.remove(t)
	b.clean(t)
}

// exercised is what `netlab exercise … -o json` prints.
type exercised struct {
	Phase  string
	Solved bool
	Score  int
	Wrong  []struct{ From, To, Expected, Observed string }
}

func (b *lab) exercised(t *testing.T, want int, dir, verb, name string) (e exercised) {
	t.Helper()
	out := b.run(t, want, "exercise", verb, name, "--dir", dir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return e
}

func (b *lab) exercise(t *testing.T, dir, name string) {
	b.exercised(t, 0, dir, "start", name)
	unsolved := func() {
		t.Helper()
		e := b.exercised(t, 1, dir, "check", name)
		if e.Solved || e.Phase != exercises.PhaseStarted || len(e.Wrong) == 0 {
			t.Fatalf("%+v", e)
		}
		t.Logf("%d wrong, the first: %+v", len(e.Wrong), e.Wrong[0])
	}
	unsolved()
	if name == "policy-wrong-label" { // the symptom alone is gone
		b.kubectl(t, "delete", "networkpolicy", "web", "-n", "shop")
		e := b.exercised(t, 1, dir, "check", name)
		if e.Solved || len(e.Wrong) == 0 || e.Wrong[0].Expected != "denied" {
			t.Errorf("without the policy: %+v", e)
		}
	}
	if e := b.exercised(t, 0, dir, "solve", name); e.Phase != exercises.PhaseShown || e.Score != 0 {
		t.Errorf("after solve: %+v", e)
	}
	if e := b.exercised(t, 0, dir, "check", name); !e.Solved {
		t.Errorf("after solve: %+v", e)
	}
	b.exercised(t, 0, dir, "reset", name)
	unsolved()
}
