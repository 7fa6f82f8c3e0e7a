package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

const labOfA = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: a}\n"

// lockedLab writes a lab file and its lock, and returns the file's path. change may change the lock.
func (b bench) lockedLab(t *testing.T, text string, change func(l *components.Lock)) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	set, _, err := b.Resolve(file)
	if err != nil {
		t.Fatal(err)
	}
	l := components.NewLock("v1", artifacts.Platform, components.Artifacts{Versions: set.Versions()})
	change(&l)
	written, err := l.Text()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(LockFile(file), written, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// older gives the catalogue an older version of Flannel, which is not the default, and returns it.
func (b *bench) older(t *testing.T) string {
	t.Helper()
	all := b.Catalog["flannel"]
	k := all[0]
	k.Version, k.Default = "v0.1.0", false
	b.Catalog["flannel"] = append(slices.Clone(all), k)
	return k.Version
}

// A lock decides the versions that the lab file does not name; what it cannot decide is listed.
func TestLockedVersions(t *testing.T) {
	b := newBench(t)
	old := b.older(t)
	file := b.lockedLab(t, labOfA, func(l *components.Lock) { l.Components["flannel"] = old })
	set, _, err := b.Resolve(file)
	if err != nil || set.Plan.CNI.Version != old || set.Versions()["flannel"] != old || set.Lock == nil {
		t.Errorf("flannel %s, CNI of the plan %s (%v)", set.Versions()["flannel"], set.Plan.CNI.Version, err)
	}
	if plan, _, err := b.Plan(file); err != nil || plan.CNI.Version != old {
		t.Errorf("the plan has %s (%v)", plan.CNI.Version, err)
	}
	newest := b.Catalog["flannel"][0].Version
	if set, _, err := b.Unlocked().Resolve(file); err != nil || set.Plan.CNI.Version != newest || set.Lock != nil {
		t.Errorf("without the lock: %s (%v)", set.Plan.CNI.Version, err)
	}

	named := b.lockedLab(t, labOfA+"cni: {name: flannel, version: "+newest+"}\n", func(l *components.Lock) { l.Components["flannel"] = old })
	_, _, err = b.Resolve(named)
	failsWith(t, err, "the software of "+named+" differs from the lock:\n  flannel "+newest+": locked is "+old, "`netlab lock FILE`")
	gone := b.lockedLab(t, labOfA, func(l *components.Lock) {
		l.Components["metallb"] = "v0.0.1"
		delete(l.Components, "runc")
		l.Components["x"] = "v1"
	})
	_, _, err = b.Resolve(gone)
	for _, want := range []string{"metallb " + b.Catalog["metallb"][0].Version + ": locked is v0.0.1", "runc ", "x v1: in the lock, and the lab does not use it"} {
		failsWith(t, err, want, "")
	}
}

func TestForeignLock(t *testing.T) {
	b := newBench(t)
	other := b.lockedLab(t, labOfA, func(l *components.Lock) { l.Platform = "plan9/mips" })
	_, _, err := b.Plan(other)
	failsWith(t, err, LockFile(other)+": it locks software for plan9/mips, and this machine is "+artifacts.Platform, "`netlab lock "+other+"`")
	later := b.lockedLab(t, labOfA, func(l *components.Lock) { l.SchemaVersion = 7 })
	_, _, err = b.Plan(later)
	failsWith(t, err, "schema version 7", "`netlab lock "+later+"`")
}

// An existing lab that is made of other software than is locked is not touched, unless the change is
// one that `up` makes.
func TestHeeds(t *testing.T) {
	b := newBench(t)
	lab := b.lab(t, "a", "netns", providers.PhaseUp)
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	file := b.lockedLab(t, labOfA, func(l *components.Lock) {
		l.Ingredients = []components.Ingredient{{Name: "image x", Digest: digest("a"), From: "build"}, {Name: "image y", Digest: digest("b"), From: "build"}}
	})
	set, _, err := b.Resolve(file)
	if err != nil {
		t.Fatal(err)
	}
	state, err := b.Root.Read(lab)
	if err != nil {
		t.Fatal(err)
	}
	state.Plan = set.Plan
	for name, test := range map[string]struct {
		change func(s *providers.State)
		want   string
	}{
		"the same":                {func(*providers.State) {}, ""},
		"of an earlier netlab":    {func(s *providers.State) { s.Artifacts = components.Artifacts{} }, ""},
		"another digest":          {func(s *providers.State) { s.Artifacts.Ingredients[0].Digest = digest("c") }, "image x: sha256:cccccccccccc from build, locked is sha256:aaaaaaaaaaaa"},
		"another component":       {func(s *providers.State) { s.Artifacts.Versions["runc"] = "v1.0.0" }, "runc v1.0.0: locked is "},
		"one less":                {func(s *providers.State) { s.Artifacts.Ingredients = s.Artifacts.Ingredients[:1] }, "image y: in the lock"},
		"changed by up":           {func(s *providers.State) { s.Plan.HostAccess = true; s.Artifacts.Ingredients[0].Name = "image x0" }, ""},
		"changed, another digest": {func(s *providers.State) { s.Plan.HostAccess = true; s.Artifacts.Ingredients[1].Digest = digest("c") }, "image y: sha256:cccccccccccc"},
		"replaced":                {func(s *providers.State) { s.Plan.CNI.Name = "calico"; s.Artifacts.Ingredients[0].Digest = digest("c") }, ""},
	} {
		s := state
		s.Artifacts = components.Artifacts{Versions: set.Versions(), Ingredients: slices.Clone(set.Lock.Ingredients)}
		test.change(&s)
		if err := b.Root.Write(s); err != nil {
			t.Fatal(err)
		}
		err := b.Heeds(set, file)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		failsWith(t, err, "the software of lab a differs from the lock:", "`netlab down a` and `netlab up "+file+"`")
		failsWith(t, err, test.want, "")
		*b.asked = nil
		_, err = b.Up(t.Context(), set, UpOptions{File: file}, quiet{})
		failsWith(t, err, test.want, "")
		b.expect(t, "up, "+name)
	}
}

// The components of an existing lab are those that it was made of, whatever the defaults are now.
func TestMadeOf(t *testing.T) {
	b := newBench(t)
	k := b.Catalog["runc"][0]
	k.Version, k.Default = "v1.0.0", false
	b.Catalog["runc"] = append(slices.Clone(b.Catalog["runc"]), k)
	lab := b.lab(t, "a", "netns", providers.PhaseUp)
	state, err := b.Root.Read(lab)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := topology.Build(labs.Default(lab, b.Known()))
	if err != nil {
		t.Fatal(err)
	}
	own, err := b.Software.Agent(b.Catalog)
	if err != nil {
		t.Fatal(err)
	}
	state.Plan = plan
	state.Artifacts = components.Artifacts{Agent: own, Versions: map[string]string{"runc": "v1.0.0"}}
	if err := b.Root.Write(state); err != nil {
		t.Fatal(err)
	}
	if _, set, _, _, err := b.verifiable(t.Context(), lab); err != nil || set.Versions()["runc"] != "v1.0.0" {
		t.Errorf("runc %s (%v)", set.Versions()["runc"], err)
	}
}
