package local

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

func nodesPlan() topology.Plan {
	return topology.Plan{Lab: labs.MustName("nlt-nodes"), Machines: []topology.Machine{
		{Name: "cp", Kind: topology.KindNode, Role: topology.RoleControlPlane}, {Name: "w1", Kind: topology.KindNode, Role: topology.RoleWorker}}}
}

// Running processes are found among others.
func TestAttach(t *testing.T) {
	plan := nodesPlan()
	running, err := Attach(plan, "/state", func(m topology.Machine) (providers.Machine, error) {
		return NodeOf(plan, m, map[string]int{"cp": 7}[m.Name], "/logs/"+m.Name)
	})
	var hinted interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), "node w1 is off") || strings.Contains(err.Error(), "cp") || !errors.As(err, &hinted) {
		t.Errorf("%v", err)
	}
	if !slices.Equal(running.Off, []string{"w1"}) || !providers.OnlyOff(err) {
		t.Errorf("off: %q; %v", running.Off, err)
	}
	if cp, ok := running.Machines["cp"].(Machine); !ok || len(running.Machines) != 1 || cp.PID != 7 || !cp.Node || cp.LogDir != "/logs/cp" || running.Kubeconfig != "/state/kubeconfig" {
		t.Errorf("%+v", running)
	}
	if _, err := Attach(plan, "/state", func(topology.Machine) (providers.Machine, error) { return Machine{}, nil }); err != nil {
		t.Errorf("all run: %v", err)
	}
}

func TestRemoveExtra(t *testing.T) {
	plan, dir := nodesPlan(), t.TempDir()
	for _, name := range []string{"cp", "w1", "half", "gone"} {
		if err := os.MkdirAll(filepath.Join(dir, "nodes", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	was := map[string]topology.Machine{"cp": plan.Machines[0], "w1": {Name: "w1", Kind: topology.KindNode, Role: topology.RoleControlPlane}, "gone": {Name: "gone"}}
	var removed []string
	remove := func(name string) error { removed = append(removed, name); return nil }
	made := func(name string) (topology.Machine, bool) { m, ok := was[name]; return m, ok }
	if err := RemoveExtra(plan, dir, []string{"stray", "cp"}, made, remove); err != nil || !slices.Equal(removed, []string{"gone", "half", "stray", "w1"}) {
		t.Errorf("removed %q (%v)", removed, err)
	}
	err := RemoveExtra(plan, dir, nil, made, func(string) error { return errors.New("busy") })
	if err == nil || !strings.Contains(err.Error(), "remove Node gone: busy") {
		t.Errorf("%v", err)
	}
	// A damaged record is neither absent, which removes a Node that never ran, nor whole.
	removed = nil
	for _, text := range []string{"", `{"name": "w1"`, "{}", `{"name": "w2"}`, "\x00\x00"} {
		if err := os.WriteFile(filepath.Join(dir, "nodes", "w1", recordFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		err := RemoveExtra(plan, dir, nil, made, remove)
		if err == nil || len(removed) > 0 || !strings.Contains(err.Error(), "machine.json is damaged") || !strings.Contains(hint.Of(err)[0], "etcd") {
			t.Errorf("with the record %q: removed %q (%v)", text, removed, err)
		}
	}
	if err := RemoveExtra(plan, filepath.Join(dir, "none"), nil, made, remove); err != nil {
		t.Errorf("a lab without Nodes: %v", err)
	}
}
