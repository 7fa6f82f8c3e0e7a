package artifacts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"netlab.dev/netlab/components"
)

// TestMain lets a test run this program again as another process that makes a thing.
func TestMain(m *testing.M) {
	if cache := os.Getenv("NETLAB_TEST_KEEP"); cache != "" {
		if err := keepSlowly(cache); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if what := os.Getenv("NETLAB_TEST_VICTIM"); what != "" {
		if err := victim(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var slowThing = item{inBuilds, "slow", "0123456789abcdef"}

// keepSlowly makes a thing of two files, half a second apart, and counts itself.
func keepSlowly(cache string) error {
	_, err := Cache{Dir: cache}.keep(context.Background(), slowThing, func(dir string, _ *record) error {
		made, err := os.OpenFile(filepath.Join(cache, "made"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer made.Close()
		if err := os.WriteFile(filepath.Join(dir, "first"), []byte("1"), 0o644); err != nil {
			return err
		}
		fmt.Fprint(made, "x")
		time.Sleep(500 * time.Millisecond)
		return os.WriteFile(filepath.Join(dir, "second"), []byte("2"), 0o644)
	})
	return err
}

func again(t *testing.T, cache string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NETLAB_TEST_KEEP="+cache)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestTwoProcessesMakeAThingOnce(t *testing.T) {
	cache := t.TempDir()
	a, b := again(t, cache), again(t, cache)
	if err := errors.Join(a.Wait(), b.Wait()); err != nil {
		t.Fatal(err)
	}
	if made, _ := os.ReadFile(filepath.Join(cache, "made")); string(made) != "x" {
		t.Errorf("made %d times", len(made))
	}
	if rec, ok := (Cache{Dir: cache}).have(slowThing); !ok || rec.Bytes != 2 || rec.From != fromBuild || rec.Seconds < 0.5 {
		t.Errorf("kept %+v, %v", rec, ok)
	}
}

func TestKilledBuildLeavesNothingHalf(t *testing.T) {
	cache := t.TempDir()
	r := Cache{Dir: cache}
	cmd := again(t, cache)
	half := filepath.Join(r.tmp(slowThing), "first")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(half); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other process made nothing")
		}
	}
	// What is being made is not swept.
	if err := r.sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); err != nil {
		t.Errorf("sweep took what another process was making: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if _, err := os.Stat(half); err != nil {
		t.Fatalf("the kill came too late for this test: %v", err)
	}
	if _, ok := r.have(slowThing); ok {
		t.Error("a killed build is taken for a whole one")
	}
	if err := r.sweep(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(cache, inTmp)); len(left) > 0 {
		t.Errorf("after the sweep %s is left", left)
	}
	if err := keepSlowly(cache); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.have(slowThing); !ok {
		t.Error("the next build did not make it")
	}
}

func TestKeepOfWhatFails(t *testing.T) {
	r := Cache{Dir: t.TempDir()}
	_, err := r.keep(t.Context(), slowThing, func(dir string, _ *record) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o644), errors.New("no luck"))
	})
	if err == nil || err.Error() != "no luck" {
		t.Errorf("got %v", err)
	}
	for _, dir := range []string{inTmp, inBuilds} {
		if left, _ := os.ReadDir(filepath.Join(r.Dir, dir)); len(left) > 0 {
			t.Errorf("%s holds %v", dir, left)
		}
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	r := Cache{Dir: t.TempDir()}
	unlock, err := r.lock(t.Context(), slowThing)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = r.keep(ctx, slowThing, func(string, *record) error { return errors.New("made without the lock") })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestPruneKeepsWhatWasUsedOfLate(t *testing.T) {
	r := Cache{Dir: t.TempDir()}
	put := func(i item, self string) {
		t.Helper()
		if _, err := r.keep(t.Context(), i, func(_ string, rec *record) error { rec.Self = self; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	for n := range keptSelves + 3 {
		self := fmt.Sprintf("self%02d", n)
		put(item{inSelf, "netlab", self}, self)
		put(item{inStores, "images", self}, self)
		if n > 1 { // those used last have made none
			put(item{inDisks, "guest", self}, self)
		}
		used := now.Add(-time.Duration(n) * time.Hour)
		if err := os.Chtimes(r.path(item{inSelf, "netlab", self}), used, used); err != nil {
			t.Fatal(err)
		}
	}
	put(item{inStores, "images", "common"}, "")
	if err := r.prune(); err != nil {
		t.Fatal(err)
	}
	for n := range keptSelves + 3 {
		self := fmt.Sprintf("self%02d", n)
		for _, i := range []item{{inSelf, "netlab", self}, {inStores, "images", self}} {
			if _, ok := r.have(i); ok != (n < keptSelves) {
				t.Errorf("%s: there is %v", r.path(i), ok)
			}
		}
	}
	if disks, err := os.ReadDir(filepath.Join(r.Dir, inDisks)); err != nil || len(disks) != keptDisks {
		t.Errorf("%d disks are left, want %d (%v)", len(disks), keptDisks, err)
	}
	if _, ok := r.have(item{inStores, "images", "common"}); !ok {
		t.Error("what holds no executable was pruned")
	}
	var group sync.WaitGroup
	for range 4 { // at once with itself
		group.Go(func() {
			if err := r.prune(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestBuildKeyCoversWhatTheBuildIsMadeFrom(t *testing.T) {
	key := func(change func(version string, b *components.Build, files fstest.MapFS) string) string {
		version, files := "v1.2.3", fstest.MapFS{"k/_src/main.go": {Data: []byte("package main")}}
		b := components.Build{Name: "b", Module: "m", Own: "_src", Packages: map[string]string{"x": "."}}
		if change != nil {
			version = change(version, &b, files)
		}
		files["k/component.yaml"] = &fstest.MapFile{Data: []byte("kind: base\nabout: a\nsource: b\nversion: " + version)}
		c, err := components.Read(files)
		if err != nil {
			t.Fatal(err)
		}
		i, err := made{c["k"][0], b}.item()
		if err != nil {
			t.Fatal(err)
		}
		return i.key
	}
	base := key(nil)
	if key(nil) != base {
		t.Fatal("the key of one recipe differs from call to call")
	}
	same := key(func(v string, b *components.Build, _ fstest.MapFS) string { b.Seconds = 500; return v })
	if same != base {
		t.Error("an estimate of time changes the key")
	}
	for name, change := range map[string]func(string, *components.Build, fstest.MapFS) string{
		"version": func(string, *components.Build, fstest.MapFS) string { return "v1.2.4" },
		"pin":     func(v string, b *components.Build, _ fstest.MapFS) string { b.Version = "v9"; return v },
		"flags":   func(v string, b *components.Build, _ fstest.MapFS) string { b.LDFlags = "-s"; return v },
		"tags":    func(v string, b *components.Build, _ fstest.MapFS) string { b.Tags = []string{"netgo"}; return v },
		"requires": func(v string, b *components.Build, _ fstest.MapFS) string {
			b.Requires = map[string][]string{"v1": {"n"}}
			return v
		},
		"source": func(v string, _ *components.Build, f fstest.MapFS) string {
			f["k/_src/main.go"].Data = []byte("package main // new")
			return v
		},
		"new file": func(v string, _ *components.Build, f fstest.MapFS) string {
			f["k/_src/more.go"] = &fstest.MapFile{}
			return v
		},
	} {
		if key(change) == base {
			t.Errorf("%s does not change the key", name)
		}
	}
}

func TestGoMod(t *testing.T) {
	m := made{components.Component{Version: "v1.2.3"}, components.Build{Module: "example.org/m",
		Requires: map[string][]string{"v0.2.0": {"example.org/b", "example.org/c"}, "v0.1.0": {"example.org/a"}},
		Replaces: map[string]string{"example.org/x": "example.org/y v1.0.0"}}}
	want := `module netlab.dev/component

go 1.26.0

require example.org/m v1.2.3
require example.org/a v0.1.0
require example.org/b v0.2.0
require example.org/c v0.2.0
replace example.org/x => example.org/y v1.0.0
`
	if got := m.goMod(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestBuildErrorShowsTheCompiler(t *testing.T) {
	needs(t, "go")
	files := fstest.MapFS{"k/component.yaml": {Data: []byte("kind: base\nversion: v1\nabout: a\nsource: b\nbuilds:\n  - {name: broken, own: _src, packages: {broken: .}}\n")},
		"k/_src/main.go": {Data: []byte("package main\n\nfunc main() { nowhere() }\n")}}
	c, err := components.Read(files)
	if err != nil {
		t.Fatal(err)
	}
	o := obtaining{Cache: Cache{Dir: t.TempDir(), Sources: AllSources()}, step: quiet}
	_, err = o.build(t.Context(), made{c["k"][0], c["k"][0].Builds[0]})
	if err == nil {
		t.Fatal("a broken program was built")
	}
	for _, want := range []string{"build broken: ", " && go build -trimpath", "undefined: nowhere"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), inLogs) {
		t.Errorf("no hint at the log: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(o.Dir, inTmp)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func quiet(string) func(error) { return func(error) {} }

func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
}

// An entry whose record is damaged is set aside and made once more: it is neither whole nor
// absent, and its directory would stand in the way of a new one for ever.
func TestDamagedRecord(t *testing.T) {
	for _, text := range []string{"", "{}", `{"from": "bui`, "\x00\x00"} {
		c, made := Cache{Dir: t.TempDir()}, 0
		keep := func() (string, error) {
			return c.keep(t.Context(), slowThing, func(dir string, _ *record) error {
				made++
				return os.WriteFile(filepath.Join(dir, "thing"), fmt.Append(nil, made), 0o644)
			})
		}
		path, err := keep()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, recordFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if path, err = keep(); err != nil {
				t.Fatalf("with the record %q: %v", text, err)
			}
		}
		if thing, err := os.ReadFile(filepath.Join(path, "thing")); err != nil || made != 2 || string(thing) != "2" {
			t.Errorf("with the record %q: made %d times, is %q (%v)", text, made, thing, err)
		}
		if err := c.sweep(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Join(c.Dir, inTmp)); err != nil || len(left) > 0 {
			t.Errorf("left: %v (%v)", left, err)
		}
	}
}
