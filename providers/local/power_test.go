package local

import (
	"slices"
	"testing"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// A host that is switched off has no process, no NIC and no namespace; the others are left alone.
// Switched on it is as planned again.
func TestPower(t *testing.T) {
	s := newScene(t, "nlt-l-power", nil)
	first := s.start()
	client, _ := s.Plan.Machine("client")
	for range 2 {
		if err := PowerOff(t.Context(), s.Plan.Lab, s.Dir, []topology.Machine{client}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if is := s.pids(); is["client"] != 0 || is["router"] != first["router"] || is["internet"] != first["internet"] {
		t.Errorf("processes are %v, were %v", is, first)
	}
	if diff, err := fabric.Diff(s.Plan); err != nil || !slices.Equal(diff, []string{"add machine client"}) {
		t.Errorf("without client the networks lack %q (%v)", diff, err)
	}
	if diff, err := fabric.Diff(s.Plan, "client"); err != nil || len(diff) > 0 {
		t.Errorf("with client off the networks lack %q (%v)", diff, err)
	}
	if said := s.inspect(); said != "host client is off" {
		t.Errorf("with client off: %s", said)
	}
	if fabric.Has(s.Plan.Lab, "client") || !fabric.Has(s.Plan.Lab, "router") {
		t.Error("namespaces are not those of the machines that are on")
	}
	if err := PowerOn(t.Context(), s.Request, []topology.Machine{client}, nil); err != nil {
		t.Fatal(err)
	}
	if is := s.pids(); is["client"] == 0 || is["client"] == first["client"] || is["router"] != first["router"] {
		t.Errorf("processes are %v, were %v", is, first)
	}
	if diff, err := fabric.Diff(s.Plan); err != nil || len(diff) > 0 {
		t.Errorf("with client the networks lack %q (%v)", diff, err)
	}
	if said := s.inspect(); said != "" {
		t.Errorf("not as planned: %s", said)
	}
}
