package checks

import (
	"fmt"
	"strings"
	"testing"

	"netlab.dev/netlab/verify/plantest"
)

func TestMeasuresGolden(t *testing.T) {
	var b strings.Builder
	for _, scenario := range []string{"quickstart", "single-node", "no-lb", "isolated"} {
		plan := plantest.Plan(t, scenario)
		fmt.Fprintf(&b, "# %s\n", scenario)
		for _, p := range Measurements(plan, plantest.Flannel(), Routes(), Routes()) {
			if p.Skip != "" {
				fmt.Fprintf(&b, "%s: skip, %s\n", p.ID, p.Skip)
				continue
			}
			fmt.Fprintf(&b, "%s: %s → %s, %s\n", p.ID, p.From.Name, p.To.Name+at(p), p.Way())
		}
	}
	plantest.Golden(t, "measures.txt", b.String())
	if paths := Measurements(plantest.Plan(t, "quickstart"), plantest.Flannel(), nil, []string{RouteClusterIP}); len(paths) != 2 || paths[0].ID != "latency-clusterip" {
		t.Errorf("one route alone: %+v", paths)
	}
}
