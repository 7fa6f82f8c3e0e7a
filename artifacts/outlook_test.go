package artifacts

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// outlook counts the artifacts of an Outlook by where they are, or by the sources that would be asked.
func outlook(t *testing.T, o obtaining) (count map[string]int, out Outlook) {
	t.Helper()
	out, err := o.Outlook(o.set)
	if err != nil {
		t.Fatal(err)
	}
	count = map[string]int{}
	for _, a := range out.Artifacts {
		where := a.From
		if where == "" {
			where = "by " + strings.Join(a.Could, ", ")
		}
		count[where]++
	}
	return count, out
}

// Where the software of a lab would come from depends on the sources, and nobody is asked.
func TestOutlook(t *testing.T) {
	for _, test := range []struct {
		sources []Source
		want    map[string]int // the number of the rest is by the key below
		rest    string
		later   bool // builds for images that no registry has
	}{
		{[]Source{Build}, map[string]int{"by module proxy": 3}, "by build", false},
		{AllSources(), map[string]int{"by module proxy": 3, "by registry, build": 5}, "by build", true},
		{[]Source{Build, Registry}, map[string]int{"by module proxy": 3}, "by build", false},
		{[]Source{Registry}, map[string]int{"by module proxy": 3, "by registry": 5}, "by ", false},
		{nil, map[string]int{}, "by ", false},
	} {
		o := obtaining{Cache: Cache{Dir: t.TempDir(), Sources: test.sources}, set: quickstart(t)}
		count, out := outlook(t, o)
		test.want[test.rest] = len(out.Artifacts)
		for where, n := range test.want {
			if where != test.rest {
				test.want[test.rest] -= n
			}
		}
		if !maps.Equal(count, test.want) {
			t.Errorf("%s: %v, want %v", test.sources, count, test.want)
		}
		if builds := slices.Contains(test.sources, Build); (out.BuildSeconds > 600) != builds || (out.OtherwiseSeconds > 200) != test.later {
			t.Errorf("%s: %d s of builds, %d s besides", test.sources, out.BuildSeconds, out.OtherwiseSeconds)
		}
		if made, err := os.ReadDir(o.Dir); err != nil || len(made) > 0 {
			t.Errorf("%s: made are %v (%v)", test.sources, made, err)
		}
	}
}

// What is cached is not asked for again, and is shown with its source, size and time.
func TestOutlookCached(t *testing.T) {
	o := obtaining{Cache: Cache{Dir: t.TempDir(), Sources: AllSources()}, set: quickstart(t)}
	before, empty := outlook(t, o)
	m, err := o.output("kubernetes/kube")
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.item()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.keep(t.Context(), i, func(string, *record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	after, out := outlook(t, o)
	if after[fromBuild] != 1 || after["by build"] != before["by build"]-1 || empty.BuildSeconds-out.BuildSeconds != m.Seconds {
		t.Errorf("with a build: %v and %d s, without: %v and %d s", after, out.BuildSeconds, before, empty.BuildSeconds)
	}
	at := slices.IndexFunc(out.Artifacts, func(a Artifact) bool { return a.From == fromBuild })
	if a := out.Artifacts[at]; !strings.HasPrefix(a.What, "build kube v") || a.Seconds <= 0 {
		t.Errorf("the build is %+v", a)
	}
}

// An upstream's node image would be pulled, and what it holds would be built only if no registry has it.
func TestOutlookUpstream(t *testing.T) {
	p := newPullable(t)
	p.catalog = p.withUpstream(t)
	o := p.obtaining(t, t.TempDir())
	o.set.Plan.Provider = "kind"
	p.asked.Store(0)
	if count, _ := outlook(t, o); count["by registry"] != 1 || p.asked.Load() != 0 {
		t.Errorf("before a pull: %v, the registry was asked %d times", count, p.asked.Load())
	}
	p.push(t)
	o.settles(t, "kind")
	p.asked.Store(0)
	if count, _ := outlook(t, o); count[fromRegistry] != 1 || count["by registry"] != 0 || p.asked.Load() != 0 {
		t.Errorf("after a pull: %v, the registry was asked %d times", count, p.asked.Load())
	}
	o.Sources = []Source{Build}
	o.Dir = t.TempDir()
	if count, _ := outlook(t, o); len(count) != 1 || count["by build"] == 0 {
		t.Errorf("without registries: %v", count)
	}
}
