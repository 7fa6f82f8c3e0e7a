package checks

import (
	"fmt"
	"testing"

	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// TestGeneratedLabs: two thousand labs of other people plan, and what verify asks of each is
// what the plan's own routes lead to: packets of a row that is asked have a way there and back,
// and of a row that is skipped for its client they have not.
func TestGeneratedLabs(t *testing.T) {
	const seeds = 2000
	known := labstest.Known()
	asked, separated, pools := 0, 0, 0
	for seed := range uint64(seeds) {
		text := labstest.Generate(seed, known)
		plan, err := topology.Load("generated.yaml", []byte("metadata: {name: generated}\n"+text), known)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if len(plan.VIPNetworks()) > 1 {
			pools++
		}
		ids := map[string]bool{}
		for _, r := range Rows(plan, plantest.Flannel()) {
			ids[r.ID] = true
			if r.From.Kind != report.AtHost || r.To.Kind != report.AtNodePort {
				continue
			}
			node, _ := plan.Machine(r.To.Node)
			reached := topology.Reach(plan, r.From.Name, node.Address()).Reachable()
			for _, a := range node.Addresses() {
				reached = reached || plan.Kubernetes.Proxy != "nftables" && topology.Reach(plan, r.From.Name, a).Reachable()
			}
			if reached != (r.Skip == "") {
				t.Fatalf("seed %d: %s to %s is skipped (%q), and is reachable: %t\n%s", seed, r.From.Name, r.To.Node, r.Skip, reached, text)
			}
			if reached {
				asked++
			} else {
				separated++
			}
		}
		for _, id := range IDs() {
			if !ids[id] {
				t.Errorf("seed %d: no row of %s", seed, id)
			}
		}
		for _, n := range plan.VIPNetworks() {
			on := 0
			for _, by := range n.Announcers {
				on += len(by.Nodes)
			}
			if on == 0 {
				t.Errorf("seed %d: nobody announces the pools of %s", seed, n.Network)
			}
		}
	}
	t.Log(fmt.Sprint(asked, " NodePort rows asked, ", separated, " separated, ", pools, " labs with pools in several networks"))
	if asked < seeds || separated < seeds || pools < seeds/20 {
		t.Errorf("the labs are of too few kinds: %d rows asked, %d separated, %d labs with several pools", asked, separated, pools)
	}
}
