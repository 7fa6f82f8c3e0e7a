package pulumi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
)

// The labs that the programs of scenarios make.
const (
	nameGo   = "pulumi-go"
	nameYAML = "pulumi-yaml"
)

// TestExamples: the programs of scenarios make their labs, verify them, and leave nothing.
func TestExamples(t *testing.T) {
	s := newStack(t, nameGo, nameYAML)
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("YAML", func(t *testing.T) {
		text, err := os.ReadFile("../../scenarios/pulumi/yaml/Pulumi.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "Pulumi.yaml"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		s.run(t, 0, "pulumi", "stack", "init", "example")
		says(t, s.up(t, 0), "4 created", "0 fail, 0 broken")
		says(t, s.run(t, 0, "pulumi", "stack", "output"), "kubeconfig  [secret]")
		s.destroy(t)
	})
	t.Run("Go", func(t *testing.T) {
		example(t, sdks(t))
		says(t, s.run(t, 0, "example"), "netlab:index:Verification", "fail:0", "kube-system", "4 deleted")
	})
	if labs := s.run(t, 0, "netlab", "list", "-o", "json"); strings.Contains(labs, "pulumi-") {
		t.Errorf("labs: %s", labs)
	}
	providertest.NothingLeft(t, before, nameGo)
	providertest.NothingLeft(t, before, nameYAML)
}
