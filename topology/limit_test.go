package topology

import (
	"fmt"
	"testing"
	"time"
)

func TestLimitsGrowWithTheLab(t *testing.T) {
	for _, test := range []struct {
		nodes    int
		emulated bool
		want     time.Duration
	}{
		{0, false, 6 * time.Minute},
		{1, false, 6 * time.Minute},
		{8, false, 6 * time.Minute},
		{12, false, 9 * time.Minute},
		{31, false, 6 * 31 * time.Minute / 8},
		{3, true, 30 * time.Minute},
		{16, true, time.Hour},
	} {
		plan := Plan{Capabilities: Capabilities{Emulated: test.emulated}, Machines: []Machine{{Name: "client", Kind: KindHost}}}
		for i := range test.nodes {
			plan.Machines = append(plan.Machines, Machine{Name: fmt.Sprint("w", i), Kind: KindNode})
		}
		if got := plan.Limit(6*time.Minute, 30*time.Minute); got != test.want {
			t.Errorf("%d Nodes, emulated %t: %s, want %s", test.nodes, test.emulated, got, test.want)
		}
	}
}
