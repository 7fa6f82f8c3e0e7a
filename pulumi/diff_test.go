package pulumi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"netlab.dev/netlab/providers"
)

// diff returns the difference between recorded inputs and outputs, and new inputs.
func (s served) diff(t *testing.T, of tokens.Type, was string, outputs resource.PropertyMap, is string) *pulumirpc.DiffResponse {
	t.Helper()
	*s.said = nil
	answer, err := s.Diff(t.Context(), &pulumirpc.DiffRequest{Id: "small", Urn: urn(of),
		OldInputs: marshal(t, properties(t, was)), Olds: marshal(t, outputs), News: marshal(t, properties(t, is))})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestDiff: what `netlab plan` changes in place is an update, and what it recreates a replacement,
// by the properties that are the reason.
func TestDiff(t *testing.T) {
	const (
		nodes   = "nodes: [{name: cp, role: control-plane}, {name: w, role: worker, count: 2}]\n"
		was     = small + nodes
		replace = pulumirpc.PropertyDiff_UPDATE_REPLACE
	)
	s := serve(t)
	outputs, err := s.preview(t, labType, was)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		is       string
		diffs    []string // in order
		replaces []string
		said     string
	}{
		"nothing":               {is: was},
		"a default written out": {is: was + "provider: netns\nkubernetes: {podCIDR: 10.244.0.0/16}"},
		"a secret from now on":  {is: strings.Replace(was, "name: small", "name: '!small'", 1), diffs: []string{planProperty}},
		"a worker more":         {is: strings.Replace(was, "count: 2", "count: 3", 1), diffs: []string{"nodes[1].count"}, said: "info: add machine w3"},
		"a worker less":         {is: strings.Replace(was, "count: 2", "count: 1", 1), diffs: []string{"nodes[1].count"}, said: "info: remove machine w2"},
		"host access":           {is: was + "hostAccess: true", diffs: []string{"hostAccess"}, said: "info: configure hostAccess"},
		"a name":                {is: "metadata: {name: other}\n" + nodes, diffs: []string{"metadata.name"}, replaces: []string{"metadata.name"}, said: "warning: recreate the cluster: metadata.name"},
		"a Pod CIDR":            {is: was + "kubernetes: {podCIDR: 10.99.0.0/16}", diffs: []string{"kubernetes"}, replaces: []string{"kubernetes"}, said: "warning: recreate the cluster: kubernetes.podCIDRs"},
		"both": {is: strings.Replace(was, "count: 2", "count: 3", 1) + "cni: {name: cilium}", diffs: []string{"cni", "nodes[1].count"}, replaces: []string{"cni"},
			said: "warning: recreate the cluster: cni"},
		"an unknown value": {is: was + "provider: '?'", diffs: []string{"provider"}},
	} {
		got := s.diff(t, labType, was, outputs, c.is)
		slices.Sort(got.Diffs)
		if !slices.Equal(got.Diffs, c.diffs) || !slices.Equal(got.Replaces, c.replaces) || (got.Changes == pulumirpc.DiffResponse_DIFF_NONE) != (len(c.diffs) == 0) {
			t.Errorf("%s: %v, differs in %v, replaced by %v; want %v, %v", name, got.Changes, got.Diffs, got.Replaces, c.diffs, c.replaces)
		}
		if said := strings.Join(*s.said, "\n"); !strings.Contains(said, c.said) {
			t.Errorf("%s: said %q, want %q", name, said, c.said)
		}
		if len(c.replaces) > 0 && !got.DeleteBeforeReplace {
			t.Errorf("%s: the new lab is made beside the old one", name)
		}
	}

	// The same secret again does not change the lab.
	hidden := strings.Replace(was, "name: small", "name: '!small'", 1)
	made, err := s.preview(t, labType, hidden)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.diff(t, labType, hidden, made, hidden); got.Changes != pulumirpc.DiffResponse_DIFF_NONE {
		t.Errorf("the same secret: %v", got)
	}

	// What refresh found is repaired in place.
	outputs[problemsProperty] = resource.NewArrayProperty([]resource.PropertyValue{resource.NewStringProperty("restore: Node w2 is gone")})
	if got := s.diff(t, labType, was, outputs, was); got.Changes != pulumirpc.DiffResponse_DIFF_SOME || !slices.Equal(got.Diffs, []string{problemsProperty}) || len(got.Replaces) > 0 {
		t.Errorf("a Node that is gone: %v", got)
	}
	if said := strings.Join(*s.said, "\n"); said != "info: restore: Node w2 is gone" {
		t.Errorf("a Node that is gone: said %q", said)
	}

	// Another content of a file.
	file := filepath.Join(t.TempDir(), "lab.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("apiVersion: netlab/v1alpha1\nkind: Lab\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(was)
	if outputs, err = s.preview(t, labType, "file: "+file); err != nil {
		t.Fatal(err)
	}
	if got := s.diff(t, labType, "file: "+file, outputs, "file: "+file); got.Changes != pulumirpc.DiffResponse_DIFF_NONE {
		t.Errorf("the same content: %v", got)
	}
	write(was + "cni: {name: cilium}\n")
	if got := s.diff(t, labType, "file: "+file, outputs, "file: "+file); got.DetailedDiff["file"].GetKind() != replace {
		t.Errorf("another CNI in the file: %v", got)
	}
}

// A lab that was changed by hand since the last refresh is compared as it is now.
func TestDiffByHand(t *testing.T) {
	s := serve(t)
	outputs, err := s.preview(t, labType, small)
	if err != nil {
		t.Fatal(err)
	}
	s.exists(t, small+"hostAccess: true\n", providers.PhaseStopped)
	got := s.diff(t, labType, small, outputs, small)
	if said := strings.Join(*s.said, "\n"); !slices.Equal(got.Diffs, []string{planProperty}) || said != "info: configure hostAccess" {
		t.Errorf("%v, said %q", got, said)
	}
}

// A replacement says what of the user's goes, where the lab is on this machine.
func TestDiffLoses(t *testing.T) {
	s := serve(t)
	s.exists(t, small, providers.PhaseUp)
	outputs, err := s.preview(t, labType, small)
	if err != nil {
		t.Fatal(err)
	}
	s.diff(t, labType, small, outputs, small+"cni: {name: cilium}")
	if said := strings.Join(*s.said, "\n"); !strings.Contains(said, "warning: delete the disks of all its Nodes") {
		t.Errorf("said %q", said)
	}
}

// TestDiffOthers: other triggers verify again; another lab or name is another resource.
func TestDiffOthers(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		of       tokens.Type
		was, is  string
		diffs    []string
		replaces []string
	}{
		{verificationType, "lab: small\ntriggers: [1]", "lab: small\ntriggers: [1]", nil, nil},
		{verificationType, "lab: small\ntriggers: [1]", "lab: small\ntriggers: [2]", []string{"triggers[0]"}, nil},
		{verificationType, "lab: small\ntriggers: [1]", "lab: small\ntriggers: ['?']", []string{"triggers[0]"}, nil},
		{verificationType, "lab: small", "lab: other", []string{"lab"}, []string{"lab"}},
		{snapshotType, "lab: small\nname: a", "lab: small\nname: b", []string{"name"}, []string{"name"}},
		{snapshotType, "lab: small\nname: a", "lab: small\nname: a", nil, nil},
	} {
		got := s.diff(t, c.of, c.was, properties(t, c.was), c.is)
		if !slices.Equal(got.Diffs, c.diffs) || !slices.Equal(got.Replaces, c.replaces) || (got.Changes == pulumirpc.DiffResponse_DIFF_NONE) != (len(c.diffs) == 0) {
			t.Errorf("%s → %s: %v", c.was, c.is, got)
		}
	}
}
