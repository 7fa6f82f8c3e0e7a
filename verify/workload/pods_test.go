package workload

import (
	"testing"

	"netlab.dev/netlab/verify/plantest"
)

// TestSecondPods: each Node has a second Pod that can be a client at any time, which is never
// a Pod whose egress is denied.
func TestSecondPods(t *testing.T) {
	for _, scenario := range []string{"quickstart", "single-node", "small-network"} {
		plan := plantest.Plan(t, scenario)
		subjects := []Subject{{Name: "first", Isolated: true}, {Name: "second", Isolated: true}, {Name: "third"}}
		pods := PodsOf(plan, subjects)
		for _, n := range plan.Nodes() {
			p := pods.SecondOn(n.Name)
			if p.Name == "first" || p.Name == "second" || p.Node != n.Name || p.Name == pods.EchoOn(n.Name).Name {
				t.Errorf("%s: the second Pod of %s is %s on %s", scenario, n.Name, p.Name, p.Node)
			}
		}
		for _, s := range subjects {
			if p := pods.Subject(s.Name); p.Name != s.Name || p.Labels[LabelPolicy] != s.Name {
				t.Errorf("%s: the Pod of %s is %+v", scenario, s.Name, p)
			}
		}
	}
}
