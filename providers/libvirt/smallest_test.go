package libvirt

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/libvirt/libvirttest"
	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
)

// smallest is a lab of two virtual machines whose cluster has a CNI and nothing else.
const smallest = `apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: nlt-machines}
provider: libvirt
libvirt: {cpus: 1, memory: 2GiB, images: %q}
nodes:
  - {name: cp, role: control-plane}
  - {name: w, role: worker}
loadBalancer: {name: none}
ingress: {name: none}
`

// TestUpDown: the smallest lab of virtual machines from ` + "`up`, every path verified, to `down`" + `,
// which leaves no domain, volume, link or process.
func TestUpDown(t *testing.T) {
	providertest.NeedLabs(t)
	d := libvirttest.Start(t)
	state := t.TempDir()
	t.Setenv("NETLAB_STATE_DIR", state)
	w := whole{self: providertest.Netlab(t)}
	providertest.RemoveKilled(t, w.self, state, "nlt-machines")
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	v := vms{images: d.Images, before: before}
	v.req.Dir, v.req.Plan.Lab = filepath.Join(state, "nlt-machines"), labs.MustName("nlt-machines")
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, filepath.Join(v.req.Dir, "logs"))
		}
		v.delete(t)
	})
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, smallest, d.Images), 0o644); err != nil {
		t.Fatal(err)
	}
	allPass(t, w.netlab(t, "up", "-o", "json", file))
	w.netlab(t, "down", file)
	v.nothingLeft(t)
}
