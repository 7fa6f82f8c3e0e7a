package e2e

import (
	"os"
	"path/filepath"
	"testing"

	speclabs "netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/providertest"
)

// TestKilled: a lab of a killed test, whose state directory still exists, is removed before the next
// test makes a lab of that name.
func TestKilled(t *testing.T) {
	providertest.NeedLabs(t)
	root, lab := providers.Root(filepath.Join(t.TempDir(), "state")), speclabs.MustName(nameOfCNI)
	if err := root.Claim(lab); err != nil {
		t.Fatal(err)
	}
	if err := providers.DefaultOwners.Set(lab, root); err != nil {
		t.Fatal(err)
	}
	newLabs(t)
	if root.Marked(lab) {
		t.Errorf("%s still has lab %s", root, lab)
	}
	if _, err := os.Stat(filepath.Join(string(providers.DefaultOwners), lab.Label())); !os.IsNotExist(err) {
		t.Errorf("the lab still belongs to %s (%v)", root, err)
	}
}
