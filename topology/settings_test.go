package topology

import (
	"encoding/json"
	"reflect"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
)

// A provider's settings and the image that Nodes boot survive the plan's JSON, indented or
// not; other providers have none.
func TestSettings(t *testing.T) {
	lab := labs.Default(labs.MustName("x"), labstest.Known())
	lab.Provider = labs.ProviderLibvirt
	lab.Libvirt.Image = labs.Image{URL: "https://images.invalid/debian.qcow2", SHA256: "00"}
	plan, err := Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	want := CloudImage{Image: lab.Libvirt.Image, Largest: lab.Libvirt.Disk, Field: "libvirt.disk"}
	if plan.Image != want || plan.Settings == nil || plan.Settings.Summary != "machines of 2 CPUs, 2GiB of memory, 10GiB of disk, booting "+want.URL {
		t.Errorf("image %+v, settings %+v", plan.Image, plan.Settings)
	}
	var read labs.Libvirt
	if err := json.Unmarshal([]byte(plan.Settings.Data), &read); err != nil || read != lab.Libvirt {
		t.Errorf("read %+v (%v), want %+v", read, err, lab.Libvirt)
	}
	for _, indent := range []string{"", "  "} {
		text, err := json.MarshalIndent(plan, "", indent)
		if err != nil {
			t.Fatal(err)
		}
		var back Plan
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(plan, back) {
			t.Errorf("the plan changed by writing and reading: %+v, %+v (%v)", plan.Settings, back.Settings, err)
		}
	}
	lab.Provider = "kind"
	if plan, err = Build(lab); err != nil || plan.Settings != nil || plan.Image != (CloudImage{}) {
		t.Errorf("of another provider: %+v, %+v (%v)", plan.Settings, plan.Image, err)
	}
}
