package artifacts

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What was not used for the time and no lab needs is removed, of every kind; digests of tags, recent
// entries and those that labs need stay. A dry run lists the same and removes nothing.
func TestPrune(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	age := func(path string, days int) {
		t.Helper()
		then := time.Now().Add(-time.Duration(days) * 24 * time.Hour)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	entry := func(kind, name string, bytes, days int) {
		t.Helper()
		dir := filepath.Join(c.Dir, kind, name)
		put(t, dir, map[string]string{recordFile: fmt.Sprintf(`{"from":"build","bytes":%d}`, bytes)})
		age(dir, days)
	}
	entry(inBuilds, "cilium-old", 5, 40)
	entry(inBuilds, "cilium-new", 6, 10)
	entry(inStores, "images-used", 7, 40)
	entry(inStores, "images-old", 9, 40)
	entry(inPins, "kindest-old", 1, 400)
	entry(inImages, "damaged-old", 0, 40)
	put(t, filepath.Join(c.Dir, inImages, "damaged-old"), map[string]string{recordFile: "{"})
	age(filepath.Join(c.Dir, inImages, "damaged-old"), 40)
	put(t, c.Dir, map[string]string{inLogs + "/old.log": "x", inLogs + "/new.log": "x", inCaches + "/cilium-clang/old.o": "x"})
	age(filepath.Join(c.Dir, inLogs, "old.log"), 40)
	age(filepath.Join(c.Dir, inCaches, "cilium-clang", "old.o"), 40)

	prune := func(days int, dry bool) (names []string) {
		t.Helper()
		all, err := c.Prune(time.Duration(days)*24*time.Hour, func(path string) bool { return strings.HasSuffix(path, "/stores/images-used") }, dry)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			names = append(names, e.Kind+"/"+e.Name)
		}
		return names
	}
	left := func() (names []string) {
		t.Helper()
		for _, pattern := range []string{"[bsip]*/*-*", inLogs + "/*", inCaches + "/*/*"} {
			files, err := filepath.Glob(filepath.Join(c.Dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				rel, _ := filepath.Rel(c.Dir, f)
				names = append(names, rel)
			}
		}
		slices.Sort(names)
		return names
	}
	before := left()
	old := []string{"stores/images-old", "builds/cilium-old", "images/damaged-old"}
	if is := prune(30, true); !slices.Equal(is, old) {
		t.Errorf("a dry run lists %v, want %v", is, old)
	}
	if is := left(); !slices.Equal(is, before) {
		t.Errorf("a dry run leaves %v of %v", is, before)
	}
	if is := prune(30, false); !slices.Equal(is, old) {
		t.Errorf("removed are %v, want %v", is, old)
	}
	if is, want := left(), []string{"builds/cilium-new", "logs/new.log", "pins/kindest-old", "stores/images-used"}; !slices.Equal(is, want) {
		t.Errorf("left are %v, want %v", is, want)
	}
	// With no time at all, what is used right now still stays.
	entry(inBuilds, "runc-now", 1, 0)
	if is, want := prune(0, false), []string{"builds/cilium-new"}; !slices.Equal(is, want) {
		t.Errorf("removed are %v, want %v", is, want)
	}
}

// An entry that is found is used, now.
func TestFoundIsUsed(t *testing.T) {
	c, i := Cache{Dir: t.TempDir()}, item{inBuilds, "runc", "key"}
	put(t, c.path(i), map[string]string{recordFile: `{"from":"build"}`})
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(c.path(i), then, then); err != nil {
		t.Fatal(err)
	}
	if _, err := c.keep(t.Context(), i, func(string, *record) error { t.Error("it is made again"); return nil }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(c.path(i)); err != nil || time.Since(info.ModTime()) > time.Minute {
		t.Errorf("it was used at %s (%v)", info.ModTime(), err)
	}
}
