package local

import (
	"os/exec"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
)

// The zero Name names no lab.
func TestNoName(t *testing.T) {
	ctx, none := t.Context(), labs.Name{}
	for what, err := range map[string]error{
		"Stop": Stop(ctx, none), "Enrol": Enrol(none, exec.Command("true")), "RemoveCgroups": RemoveCgroups(ctx, none, ""), "Start": Container{Name: "w1"}.Start(ctx, "runc", nil, nil),
		"Clear": Container{Name: "w1"}.Clear(ctx), "Remove": Container{Name: "w1"}.Remove(ctx), "Stop of a machine": Container{Name: "w1"}.Stop(ctx),
		"ForwardMain": ForwardMain(ctx, "..", "", "127.0.0.1:1"),
	} {
		if err == nil || !strings.Contains(err.Error(), "lab name") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b"} {
		if err := (Container{Lab: labs.MustName("nlt-one"), Name: name}).Clear(ctx); err == nil || !strings.Contains(err.Error(), "is not the name of a machine") {
			t.Errorf("Clear of machine %q: %v", name, err)
		}
	}
	for what, make := range map[string]func(){
		"CgroupOf": func() { CgroupOf(none, "w1") }, "Processes": func() { Processes(none) }, "InCgroups": func() { InCgroups(none, "") },
		"Guest": func() { Guest("/", none) }, "Machine": func() { Machine{}.Command(ctx, "true") }, "Memory": func() { Memory(none, "") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s takes no name", what)
				}
			}()
			make()
		}()
	}
}
