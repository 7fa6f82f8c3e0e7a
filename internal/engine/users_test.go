package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
)

// The user's paths are those of the file as it is now; a mistake in them is an error, and a file that
// is gone or has other mistakes leaves those of the last `up`.
func TestPathsOfTheFile(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "lab.yaml")
	const head = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: a}\n"
	b.lab(t, "a", "netns", providers.PhaseUp)
	state, err := b.Root.Read(labs.MustName("a"))
	if err != nil {
		t.Fatal(err)
	}
	state.File, state.Plan.Verify.Paths = file, []labs.Path{{From: "old"}}
	for name, c := range map[string]struct{ text, want, err string }{
		"edited":         {head + "verify: {paths: [{from: client, to: \"w1:22\"}]}\n", "client", ""},
		"none any more":  {head, "", ""},
		"a mistake":      {head + "verify: {paths: [{from: nobody, to: \"w1:22\"}]}\n", "", "verify.paths[0].from: the lab has no machine nobody"},
		"other mistakes": {head + "cni: {name: nosuch}\n", "old", ""},
		"another lab":    {strings.Replace(head, "name: a", "name: b", 1), "old", ""},
		"gone":           {"", "old", ""},
	} {
		os.Remove(file)
		if c.text != "" {
			if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		paths, err := b.paths(state)
		got := ""
		for _, p := range paths {
			got += p.From
		}
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q (%v), want %q (%s)", name, got, err, c.want, c.err)
		}
	}
}

// What the user's manifests change in a lab is listed, with the images that it has not: neither its
// own nor loaded.
func TestManifestsOfALab(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "lab.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("lab.yaml", "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: a}\nimages: [toolbox]\nmanifests: [pods.yaml]\n")
	pods := ""
	for name, image := range map[string]string{"ours": "netlab.dev/toolbox:bookworm", "loaded": "example.test/app:1", "lacking": "example.test/app:2"} {
		pods += "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec: {containers: [{name: a, image: \"" + image + "\"}]}\n---\n"
	}
	write("pods.yaml", pods)
	b.lab(t, "a", "netns", providers.PhaseUp)
	if err := os.WriteFile(filepath.Join(b.Root.Dir(labs.MustName("a")), "loaded.json"), []byte(`{"example.test/app:1": "sha256:0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	set, _, err := b.Resolve(file)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := b.Manifests(set, file)
	if err != nil {
		t.Fatal(err)
	}
	if notes := theirs.Notes("a"); len(notes) != 1 || !strings.Contains(notes[0], "image example.test/app:2 of Pod default/lacking is in no source; load it with `netlab load a") {
		t.Errorf("notes %q", notes)
	}
	changes, err := b.Changes(t.Context(), set.Plan, theirs)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"apply Pod default/lacking", "apply Pod default/loaded", "apply Pod default/ours"}; !slices.Equal(changes.Users, want) || changes.None() {
		t.Errorf("changes %q, want %q", changes.Users, want)
	}
	if !slices.ContainsFunc(set.Components, func(k components.Component) bool { return k.Name == "toolbox" }) ||
		slices.ContainsFunc(set.Components, func(k components.Component) bool { return k.Name == "nginx" }) {
		t.Error("the lab does not have the image that it lists, and no other")
	}
}
