package guest

import (
	"reflect"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers/libvirt/seed"
	"netlab.dev/netlab/providers/libvirt/settings"
	"netlab.dev/netlab/topology"
)

// The seed's network is the plan's again.
func TestMachine(t *testing.T) {
	known := labstest.Known()
	known.Providers, known.Sections = []string{"libvirt"}, map[string]labs.Section{"libvirt": settings.Section()}
	plan, err := topology.Build(labs.Default(labs.MustName("x"), known))
	if err != nil {
		t.Fatal(err)
	}
	want := plan.Nodes()[0]
	got, err := machine(seed.New(labs.MustName("x"), want, seed.Keys{}, nil))
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.NICs {
		want.NICs[i].Network, want.NICs[i].Port = "", "" // the other end's
	}
	if !reflect.DeepEqual(got.NICs, want.NICs) || !reflect.DeepEqual(got.Routes, want.Routes) || got.Name != want.Name || !got.Forward {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	broken := seed.New(labs.MustName("x"), want, seed.Keys{}, nil)
	broken.Network.Ethernets["eth0"] = seed.Ethernet{Addresses: []string{"172.30.0"}}
	if _, err := machine(broken); err == nil || !strings.Contains(err.Error(), "network-config") {
		t.Errorf("a broken address: %v", err)
	}
}

func TestRunsOnlyAsPID1(t *testing.T) {
	var said strings.Builder
	if code := Main(nil, &said); code != 1 || !strings.Contains(said.String(), "PID 1") {
		t.Errorf("%d %s", code, &said)
	}
}
