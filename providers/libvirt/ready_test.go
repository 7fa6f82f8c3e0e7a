package libvirt

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/libvirt/libvirttest"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
)

// TestVirtualMachines: the ready lab, MetalLB and ingress included, passes every path on virtual
// machines, is saved, and passes them again when it is put back, without what was changed
// meanwhile.
func TestVirtualMachines(t *testing.T) {
	providertest.NeedLabs(t)
	d := libvirttest.Start(t)
	self, name, state := providertest.Netlab(t), "nlt-vms-all", t.TempDir()
	t.Setenv("NETLAB_STATE_DIR", state)
	netlab := func(args ...string) []byte {
		t.Helper()
		began := time.Now()
		out, err := command.Run(exec.Command(self, args...))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("netlab %s took %s", strings.Join(args, " "), time.Since(began).Round(time.Second))
		return out
	}
	data, err := os.ReadFile("../../scenarios/virtual-machines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), "metadata: {name: virtual-machines}", "metadata: {name: "+name+"}", 1)
	text = strings.Replace(text, "libvirt: {", "libvirt: {images: "+d.Images+", ", 1)
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	netlab("down", name) // what a killed test left
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, filepath.Join(state, name, "logs"))
		}
		netlab("down", name)
		if left, err := os.ReadDir(d.Images); err != nil || len(left) > 0 {
			t.Errorf("left of the pool: %v (%v)", left, err)
		}
		if labs, err := (Provider{}).Find(); err != nil || len(labs) > 0 {
			t.Errorf("left: domains or pools of %v (%v)", labs, err)
		}
		providertest.NothingLeft(t, before, name)
	})
	allPass(t, netlab("up", "-o", "json", file))

	netlab("snapshot", "save", name, "fresh")
	netlab("kubectl", name, "--", "create", "configmap", "meanwhile")
	netlab("snapshot", "restore", name, "fresh")
	allPass(t, netlab("verify", "-o", "json", name))
	var exit *exec.ExitError
	out, err := exec.Command(self, "kubectl", name, "--", "get", "configmap", "meanwhile").CombinedOutput()
	if !errors.As(err, &exit) || !strings.Contains(string(out), "NotFound") {
		t.Errorf("of what was made after the snapshot there is %s (%v)", out, err)
	}
	if list := string(netlab("snapshot", "list", name)); !strings.Contains(list, "fresh ") {
		t.Errorf("snapshots: %s", list)
	}
}

// allPass reads a report in which no path may have failed.
func allPass(t *testing.T, out []byte) {
	t.Helper()
	var report struct {
		Provider string
		Summary  struct{ Pass, Fail, Broken int }
		Paths    []struct{ ID, Outcome, Reason string }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if s := report.Summary; report.Provider != "libvirt" || s.Pass < 50 || s.Fail+s.Broken > 0 {
		t.Errorf("provider %s, paths: %+v", report.Provider, s)
	}
	for _, p := range report.Paths {
		if p.Outcome == "fail" || p.Outcome == "broken" {
			t.Errorf("%s: %s: %s", p.ID, p.Outcome, p.Reason)
		}
	}
}

// keepLogs shows the ends of a lab's logs, which go with the lab.
func keepLogs(t *testing.T, dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	for _, f := range files {
		t.Logf("%s:\n%s", f, tail(f, 20))
	}
}
