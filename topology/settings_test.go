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
	lab.Provider = "vm"
	vm := lab.Sections["vm"].(*labstest.VM)
	vm.Image = labs.Image{URL: "https://images.invalid/debian.qcow2", SHA256: "00"}
	plan, err := Build(lab)
	if err != nil {
		t.Fatal(err)
	}
	want := CloudImage{Image: vm.Image, Largest: 4 << 30, Field: "vm.disk"}
	if plan.Image != want || plan.Settings == nil || plan.Settings.Summary != "virtual machines" {
		t.Errorf("image %+v, settings %+v", plan.Image, plan.Settings)
	}
	var read labstest.VM
	if err := json.Unmarshal([]byte(plan.Settings.Data), &read); err != nil || read != *vm {
		t.Errorf("read %+v (%v), want %+v", read, err, *vm)
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
