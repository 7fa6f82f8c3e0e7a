package pulumi

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/topology/fabric/residue"
)

// The labs that the programs of scenarios make. Labs of tests have the prefix before the name.
const (
	nameGo   = "pulumi-go"
	nameYAML = "pulumi-yaml"
	prefix   = "nlt-"
)

// TestExamples: the programs of scenarios make their labs, verify them, and leave nothing.
func TestExamples(t *testing.T) {
	s := newStack(t, prefix+nameGo, prefix+nameYAML)
	before, err := residue.Take()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("YAML", func(t *testing.T) {
		text, err := os.ReadFile("../../scenarios/pulumi/yaml/Pulumi.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "Pulumi.yaml"), bytes.ReplaceAll(text, []byte(nameYAML), []byte(prefix+nameYAML)), 0o644); err != nil {
			t.Fatal(err)
		}
		s.run(t, 0, "pulumi", "stack", "init", "example")
		says(t, s.up(t, 0), "5 created", "0 fail, 0 broken")
		says(t, s.run(t, 0, "netlab", "snapshot", "list", prefix+nameYAML), "fresh")
		s.up(t, 0, "--expect-no-changes")
		says(t, s.run(t, 0, "pulumi", "stack", "output"), "kubeconfig  [secret]")
		says(t, s.destroy(t), "snapshot fresh stays until lab "+prefix+nameYAML+" is removed", "5 deleted")
	})
	t.Run("Go", func(t *testing.T) {
		example(t, sdks(t), prefix+nameGo)
		says(t, s.run(t, 0, "example"), "netlab:index:Verification", "fail:0", "kube-system", "4 deleted")
	})
	if labs := s.run(t, 0, "netlab", "list", "-o", "json"); strings.Contains(labs, prefix+nameGo) || strings.Contains(labs, prefix+nameYAML) {
		t.Errorf("labs: %s", labs)
	}
	providertest.NothingLeft(t, before, prefix+nameGo)
	providertest.NothingLeft(t, before, prefix+nameYAML)
}
