package engine

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// What the state of a lab names stays in the cache, whether the lab runs or not; with a state that
// cannot be read nothing is removed.
func TestPruneKeepsWhatLabsNeed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("requires root: what running labs need is read from their mounts")
	}
	b := newBench(t)
	lab := labs.MustName("kept")
	then := time.Now().Add(-48 * time.Hour)
	entry := func(kind, name string) string {
		dir := filepath.Join(b.Software.Dir, kind, name)
		for _, err := range []error{os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "record.json"), []byte(`{"from":"build"}`), 0o644), os.Chtimes(dir, then, then)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	used, other := entry("rootfs", "layer-aaaa"), entry("rootfs", "layer-bbbb")
	var state providers.State
	state.Plan.Lab, state.Phase = lab, providers.PhaseStopped
	state.Plan.Machines = []topology.Machine{{Name: "cp", Kind: topology.KindNode, Role: topology.RoleControlPlane}}
	state.Artifacts.Rootfs = []string{filepath.Join(used, "root")}
	if err := b.Root.Claim(lab); err != nil {
		t.Fatal(err)
	}
	if err := b.Root.Write(state); err != nil {
		t.Fatal(err)
	}
	all, err := b.PruneCache(time.Hour, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Name != filepath.Base(other) {
		t.Errorf("would remove %v", all)
	}
	if err := os.WriteFile(filepath.Join(b.Root.Dir(lab), "state.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if all, err := b.PruneCache(time.Hour, false); err == nil {
		t.Errorf("with a damaged state it removes %v", all)
	}
	if _, err := os.Stat(used); err != nil {
		t.Error(err)
	}
}
