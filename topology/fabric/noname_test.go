package fabric

import (
	"os"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// The zero Name is rejected: nothing is created, found or removed by it.
func TestNoName(t *testing.T) {
	ctx, none := t.Context(), labs.Name{}
	_, diff := Diff(topology.Plan{})
	_, ends := KnownEnds(none)
	_, dial := Dial(ctx, none, "", "tcp4", "127.0.0.1:1")
	_, down := LinksDown(topology.Plan{})
	_, impaired := Impaired(topology.Plan{})
	_, listen := Listen(ctx, none, "", "tcp4", "127.0.0.1:0")
	for what, err := range map[string]error{
		"Create": Create(ctx, topology.Plan{}), "Diff": diff, "Delete": Delete(ctx, none), "Enter": Enter(none, "", func() error { return nil }),
		"Adopt": Adopt(ctx, none, "w1", os.Getpid()), "Dial": dial, "Listen": listen, "KnownEnds": ends,
		"Unplug": Unplug(ctx, none, topology.Machine{}), "SetLink": SetLink(ctx, none, nil, true), "LinksDown": down, "Impair": Impair(ctx, none, nil, labs.Impairment{}), "Impaired": impaired, "Restore": Restore(ctx, topology.Plan{}, nil),
		"HostAccess": HostAccess(ctx, topology.Plan{}, false),
		"Stretch":    Stretch(ctx, topology.Plan{}, nil), "Plug": Plug(ctx, topology.Plan{}, topology.NIC{}, "/proc/self/ns/net", "tap"),
	} {
		if err == nil || !strings.Contains(err.Error(), "no lab name") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if Plugged(none, topology.Machine{}) {
		t.Error("something of no lab runs")
	}
	for what, name := range map[string]func() string{
		"Name": func() string { return Name(none, "") }, "Path": func() string { return Path(none, "w1") }, "HostLink": func() string { return HostLink(none) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s gives a name", what)
				}
			}()
			name()
		}()
	}
}
