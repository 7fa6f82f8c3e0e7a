package components

import (
	"slices"
	"strings"
	"testing"
)

func lockOf(t *testing.T) Lock {
	t.Helper()
	return NewLock("v1", "linux/amd64", Artifacts{
		Versions:    map[string]string{"cni": "v1.0.0", "lb": "v2.0.0"},
		Ingredients: []Ingredient{{"build lb v2.0.0", "sha256:" + strings.Repeat("b", 64), "build"}, {"image cni:v1.0.0", "sha256:" + strings.Repeat("a", 64), "registry"}},
	})
}

// What is written is read again, and equal software gives equal bytes.
func TestLockText(t *testing.T) {
	text, err := lockOf(t).Text()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseLock(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := read.Text()
	if err != nil || string(again) != string(text) || !strings.HasSuffix(string(text), "}\n") {
		t.Errorf("%s\nafter reading it:\n%s (%v)", text, again, err)
	}
}

func TestForeignLock(t *testing.T) {
	text, err := lockOf(t).Text()
	if err != nil {
		t.Fatal(err)
	}
	change := func(was, is string) string {
		if !strings.Contains(string(text), was) {
			t.Fatalf("%s\nhas no %s", text, was)
		}
		return strings.Replace(string(text), was, is, 1)
	}
	for bad, want := range map[string]string{
		"":                             "not a lock: unexpected end",
		"[]":                           "not a lock: json: cannot unmarshal array",
		"{}":                           "schema version 0",
		change(": 1,", ": 2,"):         `schema version 2, written by netlab "v1"; this netlab reads version 1`,
		change(`"from"`, `"source"`):   `unknown field "source"`,
		string(text) + "{}":            "after top-level value",
		change("image cni:v1.0.0", ""): `ingredient ""`,
		change("sha256:"+strings.Repeat("b", 64), ""): `ingredient "build lb v2.0.0" has no name, no digest`,
		change("image cni:v1.0.0", "build lb v2.0.0"): "is there twice",
		string(text[:len(text)/2]):                    "not a lock: unexpected end",
	} {
		if _, err := ParseLock([]byte(bad)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
}

func TestLockDifferences(t *testing.T) {
	l := lockOf(t)
	same := slices.Clone(l.Ingredients)
	other := slices.Clone(same)
	other[0].Digest, other[0].From = "sha256:"+strings.Repeat("c", 64), "bundle"
	cases := map[string]struct{ got, want []string }{
		"same versions": {l.Versions(map[string]string{"cni": "v1.0.0", "lb": "v2.0.0"}), nil},
		"other versions": {l.Versions(map[string]string{"cni": "v1.1.0", "dns": "v3.0.0"}), []string{
			"cni v1.1.0: locked is v1.0.0", "dns v3.0.0: not in the lock", "lb v2.0.0: in the lock, and the lab does not use it"}},
		"same ingredients": {l.Differences(same), nil},
		"another digest":   {l.Differences(other), []string{"build lb v2.0.0: sha256:cccccccccccc from bundle, locked is sha256:bbbbbbbbbbbb from build"}},
		"one more, one less": {l.Differences([]Ingredient{{"image x", "sha256:1", "build"}, same[1]}), []string{
			"image x: not in the lock", "build lb v2.0.0: in the lock, and the lab does not use it"}},
		"no lock": {(*Lock)(nil).Differences(same), nil},
	}
	for name, c := range cases {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
	if (*Lock)(nil).Excludes("image cni:v1.0.0") || l.Excludes("image cni:v1.0.0") || !l.Excludes("image x") {
		t.Error("Excludes")
	}
	if Unlike("x", nil) != nil {
		t.Error("no difference is an error")
	}
}

// A locked version is the default, for the lab file as for what it does not name.
func TestPrefer(t *testing.T) {
	c := Catalog{"cni": {{Name: "cni", Kind: KindCNI, Version: "v2.0.0"}, {Name: "cni", Kind: KindCNI, Version: "v1.0.0"}},
		"base": {{Name: "base", Kind: KindBase, Version: "v2.0.0"}}}
	p := c.Prefer(map[string]string{"cni": "v1.0.0", "base": "v1.0.0", "gone": "v1.0.0"})
	if got := p.Known().CNIs["cni"].Versions(); !slices.Equal(got, []string{"v1.0.0", "v2.0.0"}) {
		t.Errorf("offered: %v", got)
	}
	if p["base"][0].Version != "v2.0.0" || len(p) != 2 || c["cni"][0].Version != "v2.0.0" {
		t.Errorf("%v; before %v", p, c)
	}
}
