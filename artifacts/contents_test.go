package artifacts

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
)

// withContainerd adds a containerd to a set, and its build to the cache.
func (o obtaining) withContainerd(t *testing.T) obtaining {
	t.Helper()
	c, err := components.Read(fstest.MapFS{
		"containerd/component.yaml": {Data: []byte("kind: base\nversion: v1\nabout: a\nsource: b\nbuilds: [{name: containerd, own: _src, packages: {containerd: .}}]\n")},
		"containerd/_src/main.go":   {Data: []byte("package main\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.set.Components = append(slices.Clone(o.set.Components), c["containerd"][0])
	m, err := o.output(containerdBuild)
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.item()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.keep(t.Context(), i, func(dir string, _ *record) error { return os.WriteFile(filepath.Join(dir, "p"), []byte("#!p"), 0o755) }); err != nil {
		t.Fatal(err)
	}
	return o
}

// whole makes all that the set of twoOf requires, and returns its job.
func whole(t *testing.T) job {
	t.Helper()
	o, pictures := twoOf(t)
	o = o.withContainerd(t)
	o.set.Plan.Lab = labs.MustName("a")
	for _, p := range pictures {
		if _, err := o.image(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	return job{obtaining: o, parts: o.set.Components}
}

func (j job) mustContents(t *testing.T) []components.Ingredient {
	t.Helper()
	list, err := j.contents(nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What a lab is made of is the same on two machines, also where a bundle brought it.
func TestContents(t *testing.T) {
	j, other := whole(t), whole(t)
	list := j.mustContents(t)
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
		if i.From != fromBuild || len(i.Digest) != len("sha256:")+64 {
			t.Errorf("%+v", i)
		}
	}
	if want := []string{"build containerd v1", "image example.org/one:v1.2.3", "image example.org/two:latest"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
	if again := other.mustContents(t); !slices.Equal(list, again) {
		t.Errorf("%v\non another machine %v", list, again)
	}
	all, err := j.ingredients()
	if err != nil {
		t.Fatal(err)
	}
	data := bundled(t, j.Cache, all)
	carried := j
	carried.Cache.Dir = t.TempDir()
	if _, _, err := carried.ReadBundle(t.Context(), bytes.NewReader(data), quiet); err != nil {
		t.Fatal(err)
	}
	if again := carried.mustContents(t); !slices.Equal(list, again) {
		t.Errorf("%v\nbrought by a bundle %v", list, again)
	}
	if rec, _ := carried.have(all[0].item); rec.From != fromBundle || rec.Origin != fromBuild {
		t.Errorf("record %+v", rec)
	}
}

// The digest of a directory is recorded when it is made, and for one that an earlier netlab made
// when a lock requires it.
func TestDigestOfTree(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	i := item{inBuilds, "program", "1234"}
	dir, err := c.keep(t.Context(), i, func(dir string, _ *record) error {
		return errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "bin", "p"), []byte("#!p"), 0o755))
	})
	if err != nil {
		t.Fatal(err)
	}
	rec, _ := c.have(i)
	want, err := treeDigest(dir)
	if err != nil || rec.Digest != want {
		t.Fatalf("recorded %q, is %q (%v)", rec.Digest, want, err)
	}
	rec.Digest = ""
	text, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := c.digest(i, rec); err != nil || got != want {
		t.Errorf("digest %q (%v), want %q", got, err, want)
	}
	if rec, ok := c.have(i); !ok || rec.Digest != want || rec.From != fromBuild {
		t.Errorf("record %+v", rec)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "p"), []byte("#!q"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := treeDigest(dir); err != nil || got == want {
		t.Errorf("other content has digest %q (%v) too", got, err)
	}
}

// Software that differs from a lab's lock is listed before anything is made or asked for.
func TestHeed(t *testing.T) {
	j := whole(t)
	list := j.mustContents(t)
	lock := func(change func(l *components.Lock)) *components.Lock {
		l := components.NewLock("v1", Platform, components.Artifacts{Ingredients: slices.Clone(list)})
		change(&l)
		return &l
	}
	other := "sha256:" + strings.Repeat("0", 64)
	for name, test := range map[string]struct {
		lock   *components.Lock
		before bool // it is known before anything is obtained
		want   string
	}{
		"no lock":        {nil, false, ""},
		"the same":       {lock(func(*components.Lock) {}), false, ""},
		"another digest": {lock(func(l *components.Lock) { l.Ingredients[2].Digest = other }), true, "image example.org/two:latest: sha256:"},
		"not locked":     {lock(func(l *components.Lock) { l.Ingredients = l.Ingredients[:2] }), true, "image example.org/two:latest: not in the lock"},
		"not used": {lock(func(l *components.Lock) {
			l.Ingredients = append(l.Ingredients, components.Ingredient{Name: "x", Digest: other})
		}), false, "x: in the lock, and the lab does not use it"},
	} {
		j.set.Lock = test.lock
		var a components.Artifacts
		before, after := j.heed(), j.describe(&a, nil)
		if (before != nil) != test.before || (after != nil) != (test.want != "") {
			t.Errorf("%s: before %v, after %v", name, before, after)
		}
		if !slices.Equal(a.Ingredients, list) || a.Versions["k"] != "v1.2.3" {
			t.Errorf("%s: described as %+v", name, a)
		}
		if after != nil && (!strings.HasPrefix(after.Error(), "the software of lab a differs from the lock:\n  ") || !strings.Contains(after.Error(), test.want) || len(hint.Of(after)) == 0) {
			t.Errorf("%s: %v", name, after)
		}
		if !test.before {
			continue
		}
		if err := j.Unlike(j.set); test.want != "image example.org/two:latest: not in the lock" && err == nil {
			t.Errorf("%s: cached, and no error", name)
		}
		_, err := j.ObtainAll(t.Context(), []components.Set{j.set}, func(step string) func(error) {
			t.Errorf("%s: %s", name, step)
			return func(error) {}
		})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: obtained (%v)", name, err)
		}
	}
}

// A lock decides the digest of a tag that has moved, and whether upstream's image is used at all.
func TestLockedUpstream(t *testing.T) {
	p := newPullable(t)
	p.catalog = p.withUpstream(t)
	first := p.push(t)
	locked := &components.Lock{Ingredients: []components.Ingredient{{Name: "image " + p.ref, Digest: first.String()}, {Name: "digest of " + p.ref, Digest: first.String()}}}
	moved := p.push(t)
	o := p.obtaining(t, t.TempDir())
	if _, node, _ := o.settles(t, "kind"); node.Over.Pull != moved.String() {
		t.Errorf("without a lock Nodes are of %+v", node)
	}
	o.set.Lock = locked // in the same cache
	j, node, why := o.settles(t, "kind")
	if why != "" || node.Over.Pull != first.String() {
		t.Errorf("Nodes are of %+v, since %q; locked is %s", node, why, first)
	}
	have := j.mustContents(t)
	for _, want := range locked.Ingredients {
		if !slices.ContainsFunc(have, func(i components.Ingredient) bool {
			return i.Name == want.Name && i.Digest == want.Digest && i.From == fromRegistry
		}) {
			t.Errorf("%+v is not among %+v", want, have)
		}
	}
	p.asked.Store(0)
	o.set.Lock = &components.Lock{}
	if _, node, why := o.settles(t, "kind"); node.Name != "built" || !strings.Contains(why, "not in the lab's lock") || p.asked.Load() != 0 {
		t.Errorf("Nodes are of %+v, since %q, after %d questions", node, why, p.asked.Load())
	}
	p.close()
	gone := p.obtaining(t, t.TempDir())
	gone.set.Lock, gone.set.Plan.Provider = locked, "kind"
	if _, err := gone.settle(t.Context(), map[string]answer{}); err == nil || !strings.Contains(err.Error(), "the lab's lock requires it") {
		t.Errorf("a locked image that is not available: %v", err)
	}
}

// An image that can be pulled or built comes from where the lock has it from, with the locked digest
// though the tag moved, and from nowhere else.
func TestLockedRegistryFirst(t *testing.T) {
	p := newPullable(t)
	catalog, digest := p.choosable(t)
	p.catalog = catalog
	k := catalog["k"][0]
	host, _, _ := strings.Cut(p.ref, "/")
	agent := pullable{ref: host + "/cni/agent:v9"}
	if moved := agent.push(t); moved == digest {
		t.Fatal("the tag did not move")
	}
	one := func(lock *components.Lock, sources ...Source) (record, string, error) {
		o := p.obtaining(t, t.TempDir())
		o.Sources, o.set.Lock = sources, lock
		dir, err := o.image(t.Context(), o.picture(k, k.Images[0]))
		if err != nil {
			return record{}, "", err
		}
		rec, err := readRecord(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, is, err := onlyImage(dir)
		return rec, is.String(), err
	}
	from := func(source string) *components.Lock {
		return &components.Lock{Ingredients: []components.Ingredient{{Name: "image " + agent.ref, Digest: digest.String(), From: source}}}
	}
	if rec, is, err := one(from(fromRegistry), Build, Registry); err != nil || rec.From != fromRegistry || is != digest.String() {
		t.Errorf("pulled: %+v, %s (%v); locked is %s", rec, is, err, digest)
	}
	if rec, _, err := one(from(fromBuild), Registry, Build); err != nil || rec.From != fromBuild {
		t.Errorf("built: %+v (%v)", rec, err)
	}
	if rec, _, err := one(from(fromRegistry), Build); err == nil {
		t.Errorf("without registries: %+v", rec)
	}
}

// An optional image that is not in the lock is not asked for; one that is there and lacking is
// reported with the reason.
func TestLockedOptional(t *testing.T) {
	p := newPullable(t)
	o := p.obtaining(t, t.TempDir()).withContainerd(t)
	o.set.Lock = &components.Lock{}
	p.asked.Store(0)
	without, err := o.pull(t.Context(), o.set.Components)
	if err != nil || !strings.Contains(without[p.ref], "not in the lab's lock") || p.asked.Load() != 0 {
		t.Errorf("%v (%v) after %d questions", without, err, p.asked.Load())
	}
	o.set.Lock = &components.Lock{Ingredients: []components.Ingredient{{Name: "build containerd v1"}, {Name: "image " + p.ref, Digest: "sha256:0"}}}
	var a components.Artifacts
	err = job{obtaining: o, parts: o.set.Components}.describe(&a, map[string]string{p.ref: "the registry is away"})
	if err == nil || !strings.Contains(err.Error(), "image "+p.ref+": in the lock, and the registry is away") {
		t.Errorf("%v", err)
	}
}
