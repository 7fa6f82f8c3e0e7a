package settings

import (
	"encoding/json"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
)

func known() labs.Known {
	k := labstest.Known()
	k.Providers, k.Sections = []string{"libvirt"}, map[string]labs.Section{"libvirt": Section()}
	return k
}

// What the lab file says is what the provider reads from the Plan; the Plan alone says where
// Nodes run and which image they boot.
func TestSettings(t *testing.T) {
	plan, err := topology.Load("lab.yaml", []byte(`apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: x}
libvirt: {uri: "qemu+ssh://kvm1/system", cpus: 3, disk: 20GiB, image: {url: "https://images.invalid/debian.qcow2", sha256: "`+strings.Repeat("0", 64)+`"}}
nodes: [{name: cp, role: control-plane}, {name: w, role: worker, hypervisor: kvm2}]
`), known())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(plan)
	want := Libvirt{URI: "qemu+ssh://kvm1/system", Images: "/var/lib/libvirt/images", CPUs: 3, Memory: 2 * gib, Disk: 20 * gib, Image: plan.Image.Image}
	if err != nil || got != want || got.Image.URL == "" {
		t.Errorf("read %+v (%v), want %+v", got, err, want)
	}
	if plan.Image.Largest != want.Disk || plan.Image.Field != "libvirt.disk" || !plan.Capabilities.OwnKernel ||
		plan.Settings.Summary != "machines of 3 CPUs, 2GiB of memory, 20GiB of disk, booting "+want.Image.URL {
		t.Errorf("image %+v, capabilities %+v, settings %+v", plan.Image, plan.Capabilities, plan.Settings)
	}
	if cp, w := plan.Machines[0].Remote, plan.Machines[1].Remote; cp != "qemu+ssh://kvm1/system" || w != "qemu+ssh://kvm2/system" {
		t.Errorf("cp is on %s, w on %s", cp, w)
	}
	plan.Settings = nil
	if _, err := Read(plan); err == nil {
		t.Error("read from a plan without settings")
	}
}

// Editors accept the numbers of CPUs that Validate accepts.
func TestSchemaBounds(t *testing.T) {
	text, err := labs.Schema(known())
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Defs map[string]struct {
			Properties map[string]struct{ Minimum, Maximum int }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	bounds := s.Defs["Libvirt"].Properties["cpus"]
	for cpus, fine := range map[int]bool{bounds.Minimum - 1: false, bounds.Minimum: true, bounds.Maximum: true, bounds.Maximum + 1: false} {
		var l Libvirt
		l.Fill()
		l.CPUs = cpus
		if problems := l.Validate(func(string) bool { return false }); (len(problems) == 0) != fine {
			t.Errorf("%d CPUs: %v", cpus, problems)
		}
	}
}
