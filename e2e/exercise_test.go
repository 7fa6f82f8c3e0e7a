package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/exercises"
	"netlab.dev/netlab/providers/providertest"
)

// The labs of the exercises.
const (
	nameOfExercises = "nlt-exercises"
	nameOfRouted    = nameOfExercises + "-routed"
)

// TestExercises does exercises one after another: each is unsolved, is not solved by mending its
// symptom, is solved by its solution, and is unsolved again after a reset. One of them, which takes a
// minute and a half, unless $NETLAB_TEST_EXERCISES lists others; all means all.
func TestExercises(t *testing.T) {
	providertest.NeedLabs(t)
	l := newLabs(t)
	dir := filepath.Join(l.dir, "exercises")
	if err := os.CopyFS(dir, os.DirFS("../scenarios/exercises")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"workshop", "routed"} {
		file := filepath.Join(dir, "labs", name+".yaml")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := replaced(t, string(data), "metadata: {name: workshop", "metadata: {name: "+nameOfExercises)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := exercises.Names(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"policy-wrong-label"}
	if wanted := os.Getenv("NETLAB_TEST_EXERCISES"); wanted == "all" {
		names = all
	} else if wanted != "" {
		names = strings.Split(wanted, ",")
	}
	ofLab := map[string]*lab{}
	for _, name := range []string{nameOfExercises, nameOfRouted} {
		ofLab[name] = &lab{labs: l, name: name}
		t.Cleanup(func() { ofLab[name].remove(t) })
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			e := l.exercised(t, 0, dir, "start", name)
			ofLab[e.Lab].exercise(t, dir, name, e)
		})
	}
	for _, b := range ofLab {
		b.remove(t)
	}
	for _, b := range ofLab {
		b.clean(t)
	}
}

// exercised is what `netlab exercise … -o json` prints.
type exercised struct {
	Lab, Phase string
	Solved     bool
	Score      int
	Wrong      []wrong
}

type wrong struct{ From, To, Expected, Observed string }

func (l *labs) exercised(t *testing.T, want int, dir, verb, name string) (e exercised) {
	t.Helper()
	out := l.run(t, want, "exercise", verb, name, "--dir", dir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return e
}

// symptoms are what takes the symptom of an exercise away and not its fault, as arguments of kubectl,
// with what is wrong then.
func symptoms() map[string]struct {
	mend []string
	left wrong
} {
	return map[string]struct {
		mend []string
		left wrong
	}{
		"policy-wrong-label": {[]string{"delete", "networkpolicy", "web", "-n", "shop"}, wrong{"shop/visitor", "shop/web:80", "denied", "HTTP status 200"}},
		"policy-forgot-dns":  {[]string{"delete", "networkpolicy", "egress", "-n", "shop"}, wrong{"shop/frontend", "internet:8081", "denied", "an answer"}},
		"hostport-taken":     {[]string{"delete", "daemonset", "audit", "-n", "metrics"}, wrong{"client", "w1:9100", "reachable", "refused"}},
		"nodeport-local": {[]string{"patch", "service", "counter", "-n", "shop", "-p", `{"spec":{"externalTrafficPolicy":"Cluster"}}`},
			wrong{"client", "vip/shop/counter:80", "reachable", "source seen "}},
	}
}

// exercise does an exercise that is started.
func (b *lab) exercise(t *testing.T, dir, name string, e exercised) {
	unsolved := func() {
		t.Helper()
		if e.Solved || e.Phase != exercises.PhaseStarted || len(e.Wrong) == 0 {
			t.Fatalf("%+v", e)
		}
		t.Logf("wrong: %+v", e.Wrong)
	}
	unsolved()
	if x, has := symptoms()[name]; has {
		b.kubectl(t, x.mend...)
		e = b.exercised(t, 1, dir, "check", name)
		unsolved()
		if !slices.ContainsFunc(e.Wrong, x.left.is) {
			t.Errorf("want %+v", x.left)
		}
	}
	if e = b.exercised(t, 0, dir, "solve", name); e.Phase != exercises.PhaseShown || e.Score != 0 || !e.Solved {
		t.Errorf("after solve: %+v", e)
	}
	e = b.exercised(t, 0, dir, "reset", name)
	unsolved()
}

// is reports whether another is the same, of any Pod of a workload and of any address.
func (w wrong) is(o wrong) bool {
	return strings.HasPrefix(o.From, w.From) && o.To == w.To && o.Expected == w.Expected && strings.HasPrefix(o.Observed, w.Observed)
}
