package components

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestMissing(t *testing.T) {
	c := load(t)
	r := Resolver{Catalog: c, Cache: t.TempDir(), Self: os.Args[0]}
	t.Setenv("PATH", t.TempDir())
	lacks := r.Missing(quickstart(c))
	packages := map[string]int{}
	for _, err := range lacks {
		var hint interface{ Hint() string }
		if !errors.As(err, &hint) {
			t.Errorf("no hint in %v", err)
			continue
		}
		packages[strings.TrimPrefix(hint.Hint(), "apt-get install ")]++
	}
	for _, pkg := range []string{"golang", "mmdebstrap", "gcc", "pkg-config", "util-linux", "tar"} {
		if packages[pkg] != 1 {
			t.Errorf("%s is named %d times: %v", pkg, packages[pkg], lacks)
		}
	}
}

// What lies in the cache needs no tool.
func TestMissingOfWhatIsCached(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	r := Resolver{Catalog: c, Cache: t.TempDir(), Self: os.Args[0]}
	o := obtaining{Resolver: r}
	set, err := c.Resolve(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range set {
		k.Images = nil
		items, err := o.items(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range items {
			if _, err := r.keep(t.Context(), i, func(string, *record) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", t.TempDir())
	if lacks := r.Missing(p); len(lacks) != 2 { // unshare and tar
		t.Errorf("missing are %v", lacks)
	}
}

func TestStatusOfAnEmptyCache(t *testing.T) {
	c := load(t)
	all, err := Resolver{Catalog: c, Cache: t.TempDir(), Self: os.Args[0]}.Status()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(c) {
		t.Errorf("%d of %d components", len(all), len(c))
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
