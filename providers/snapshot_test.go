package providers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// savesNothing is a Snapshotter whose snapshots have nothing but a directory.
type savesNothing struct{ restored int }

func (m *savesNothing) Save(_ context.Context, _ topology.Plan, dir, name string) error {
	return os.MkdirAll(SnapshotDir(dir, name), 0o755)
}

func (m *savesNothing) Restore(context.Context, topology.Plan, string, string) (bool, error) {
	m.restored++
	return false, nil
}

func (m *savesNothing) Snapshots(string) ([]Snapshot, error) { return nil, nil }

// TestSnapshotRecords: with the cluster its records are restored, as far as they belong to it.
func TestSnapshotRecords(t *testing.T) {
	root, s := Root(t.TempDir()), &savesNothing{}
	lab := labs.MustName("a")
	state := State{Plan: topology.Plan{Lab: lab, Provider: "libvirt", Machines: []topology.Machine{{Name: "cp", Kind: topology.KindNode, Role: topology.RoleControlPlane}}},
		Phase: PhaseUp, Manifests: map[string]string{"web": "1"}}
	if err := root.Write(state); err != nil {
		t.Fatal(err)
	}
	dir := root.Dir(lab)
	put := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("applied.json", `{"then": true}`)
	if err := Save(t.Context(), root, s, state, "fresh"); err != nil {
		t.Fatal(err)
	}

	put("applied.json", `{"now": true}`)
	put("loaded.json", `{"image": "sha256:1"}`)
	now := state
	now.Manifests, now.APIPort, now.Artifacts.Self = map[string]string{"web": "2"}, 7, "/new"
	if err := root.Write(now); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), root, nil, s, now, "fresh", nil); err != nil {
		t.Fatal(err)
	}
	if is, err := root.Read(lab); err != nil || is.Manifests["web"] != "1" || is.APIPort != 7 || is.Artifacts.Self != "/new" {
		t.Errorf("state: %+v (%v)", is, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "applied.json")); string(data) != `{"then": true}` {
		t.Errorf("applied.json: %s (%v)", data, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "loaded.json")); err == nil {
		t.Error("loaded.json names images that were loaded later")
	}

	other := now
	other.Plan.Machines = append(other.Plan.Machines[:1:1], topology.Machine{Name: "w9", Role: topology.RoleWorker})
	if err := Restore(t.Context(), root, nil, s, other, "fresh", nil); err == nil || !strings.Contains(err.Error(), "have changed since snapshot") {
		t.Errorf("of other machines: %v", err)
	}
	if err := Restore(t.Context(), root, nil, s, now, "none", nil); err == nil || !strings.Contains(err.Error(), `has no snapshot "none"`) {
		t.Errorf("of none: %v", err)
	}
	if err := os.WriteFile(filepath.Join(SnapshotDir(dir, "fresh"), recordsDir, stateFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), root, nil, s, now, "fresh", nil); err == nil || s.restored != 1 {
		t.Errorf("with a damaged record: %v, restored %d times", err, s.restored)
	}
	now.Phase = PhaseStopped
	if err := Save(t.Context(), root, s, now, "stopped"); err == nil {
		t.Error("a stopped lab was saved")
	}
}
