package artifacts

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestMissing(t *testing.T) {
	set := quickstart(t)
	t.Setenv("PATH", t.TempDir())
	lacks := Cache{Dir: t.TempDir(), Self: os.Args[0]}.Missing(set)
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

// Entries of the cache require no tool.
func TestMissingOfWhatIsCached(t *testing.T) {
	set := quickstart(t)
	c := Cache{Dir: t.TempDir(), Self: os.Args[0]}
	o := obtaining{Cache: c, set: set}
	for _, k := range set.Components {
		k.Images = nil
		items, err := o.items(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range items {
			if _, err := c.keep(t.Context(), i, func(string, *record) error { return nil }); err != nil {
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
