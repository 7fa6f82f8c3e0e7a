package artifacts

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"netlab.dev/netlab/topology"
)

func TestMissing(t *testing.T) {
	set := quickstart(t)
	t.Setenv("PATH", t.TempDir())
	lacks := Cache{Dir: t.TempDir(), Self: os.Args[0], Sources: []Source{Build}}.Missing(set)
	packages := map[string]int{}
	for _, err := range lacks {
		var hint interface{ Hint() string }
		if !errors.As(err, &hint) {
			t.Errorf("no hint in %v", err)
			continue
		}
		packages[strings.TrimPrefix(hint.Hint(), "apt-get install ")]++
	}
	for _, pkg := range []string{noGo{}.Hint(), "mmdebstrap", "gcc", "pkg-config", "util-linux", "tar"} {
		if packages[pkg] != 1 {
			t.Errorf("%s is named %d times: %v", pkg, packages[pkg], lacks)
		}
	}
}

// Entries of the cache require no tool.
func TestMissingOfWhatIsCached(t *testing.T) {
	set := quickstart(t)
	c := Cache{Dir: t.TempDir(), Self: os.Args[0], Sources: AllSources()}
	o := obtaining{Cache: c, set: set}
	for _, k := range set.Components {
		k.Images = nil
		entries, err := o.entries(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if _, err := c.keep(t.Context(), e.item, func(string, *record) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", t.TempDir())
	if lacks := c.Missing(set); len(lacks) != 2 { // unshare and tar
		t.Errorf("missing are %v", lacks)
	}
}

func TestStatusOfAnEmptyCache(t *testing.T) {
	c := load(t)
	all, err := Cache{Dir: t.TempDir(), Self: os.Args[0]}.Status(c)
	if err != nil {
		t.Fatal(err)
	}
	if parts, _ := c.Sets(); len(all) != len(parts) {
		t.Errorf("%d of %d versions of components", len(all), len(parts))
	}
	for _, s := range all {
		if s.Cached || s.Seconds != 0 || s.Bytes != 0 {
			t.Errorf("%s is cached: %+v", s.Name, s)
		}
		if s.Name == "ingress-nginx" && (len(s.Lacks) == 0 || s.Notice == "") {
			t.Error("ingress-nginx does not say what it lacks, or that it is retired")
		}
	}
}

// Each artifact says where it is from and where it could come from; what is pulled needs no build
// to be complete.
func TestStatusNamesSources(t *testing.T) {
	c := load(t)
	o := obtaining{Cache: Cache{Dir: t.TempDir(), Self: os.Args[0], Sources: AllSources()}, selfHash: anySelf, set: quickstart(t)}
	k := named(t, o.set, "flannel")
	could := func() string {
		t.Helper()
		s, err := o.status(k)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, a := range s.Artifacts {
			what, _, _ := strings.Cut(a.What, " ")
			lines = append(lines, fmt.Sprintf("%s %s%v", what, a.From, a.Could))
		}
		return fmt.Sprintf("%t %s", s.Cached, strings.Join(lines, ", "))
	}
	if got, want := could(), "false build [build], build [build], image [registry build], image [registry build], files [module proxy]"; got != want {
		t.Errorf("an empty cache gives\n%s, want\n%s", got, want)
	}
	for _, i := range k.Images {
		at, err := o.imageItem(o.picture(k, i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.keep(t.Context(), at, func(_ string, rec *record) error { rec.From = fromRegistry; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.keep(t.Context(), made{k, k.Builds[0]}.filesItem(), func(_ string, rec *record) error { rec.From = fromModule; return nil }); err != nil {
		t.Fatal(err)
	}
	if got, want := could(), "true image registry[registry build], image registry[registry build], files module proxy[module proxy]"; got != want {
		t.Errorf("pulled it gives\n%s, want\n%s", got, want)
	}
	k = named(t, everything(c), "coredns")
	if got, want := could(), "false build [build], image [build]"; got != want {
		t.Errorf("coredns gives\n%s, want\n%s", got, want)
	}
}

// With a registry first no tool is missing before it was asked, and those that a build would need
// are named apart; without its answer all are missing at once.
func TestMissingAfterRegistries(t *testing.T) {
	set := quickstart(t, func(p *topology.Plan) { p.Provider = "netns" })
	c := Cache{Dir: t.TempDir(), Self: os.Args[0], Sources: AllSources()}
	t.Setenv("PATH", t.TempDir())
	if lacks := c.Missing(set); len(lacks) != 2 { // unshare and tar
		t.Errorf("missing are %v", lacks)
	}
	if lacks := fmt.Sprint(c.MissingToBuild(set)); !strings.Contains(lacks, "go not found") || !strings.Contains(lacks, "mmdebstrap not found") {
		t.Errorf("missing to build are %v", lacks)
	}
	j := job{obtaining: obtaining{Cache: c, set: set, selfHash: anySelf}, parts: set.Components}
	err := fmt.Sprint(toolsFor([]job{j, j})) // of two labs
	if strings.Count(err, "go not found") != 1 || strings.Count(err, "mmdebstrap not found") != 1 {
		t.Errorf("once registries were asked: %s", err)
	}
	c.Sources = []Source{Registry}
	if lacks := c.MissingToBuild(set); len(lacks) != 0 {
		t.Errorf("without builds missing to build are %v", lacks)
	}
}
