package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/netns"
	"netlab.dev/netlab/topology"
)

// The zero Name is refused by every provider before it looks at anything: dir is a lab's
// with a file in it.
func TestProvidersRefuseNoName(t *testing.T) {
	for _, entry := range Providers() {
		name, p := entry.Name, entry.Provider
		dir := t.TempDir()
		file := filepath.Join(dir, "state.json")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		step := func(string) func(error) { return func(error) {} }
		_, created := p.Create(t.Context(), providers.Request{Dir: dir, Step: step})
		_, attached := p.Attach(t.Context(), topology.Plan{}, dir)
		for verb, err := range map[string]error{
			"Create": created, "Attach": attached,
			"Delete": p.Delete(t.Context(), labs.Name{}, dir),
			"Stop":   p.(providers.Stopper).Stop(t.Context(), labs.Name{}, dir),
		} {
			if err == nil || !strings.Contains(err.Error(), "no lab name") {
				t.Errorf("%s: %s says %v", name, verb, err)
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s left %v (%v)", name, entries, err)
		}
	}
	root := providers.Root(t.TempDir())
	_, lockErr := root.Lock(labs.Name{}, false)
	_, readErr := root.Read(labs.Name{})
	for verb, err := range map[string]error{
		"Lock": lockErr, "Read": readErr, "Write": root.Write(providers.State{}),
		"Down": providers.Down(t.Context(), root, labs.Name{}, netns.Provider{}),
		"Stop": providers.Stop(t.Context(), root, netns.Provider{}, labs.Name{}),
	} {
		if err == nil || !strings.Contains(err.Error(), "no lab name") {
			t.Errorf("%s says %v", verb, err)
		}
	}
	if entries, err := os.ReadDir(string(root)); err != nil || len(entries) != 0 {
		t.Errorf("left %v (%v)", entries, err)
	}
}
