package checks

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/plantest"
)

// large is a lab of one control plane and workers, of which some are on storage, some on dmz, one
// on both.
func large(t *testing.T, plain, storage, dmz int) topology.Plan {
	return plantest.Of(t, fmt.Sprintf(`networks: [{name: lan, cidr: 10.0.0.0/16}, {name: storage, cidr: 10.1.0.0/24}, {name: dmz, cidr: 10.2.0.0/24}]
nodes:
- {name: cp, role: control-plane, networks: [lan]}
- {name: w, role: worker, count: %d, networks: [lan]}
- {name: s, role: worker, count: %d, networks: [lan, storage]}
- {name: d, role: worker, count: %d, networks: [lan, dmz]}
- {name: both, role: worker, networks: [lan, storage, dmz]}
hosts: [{name: client, role: client, networks: [lan]}]
`, plain, storage, dmz))
}

// pairsOf are the pairs of Nodes of a plan's cross-Node rows, by path.
func pairsOf(plan topology.Plan, e Extent) map[string]map[pair]bool {
	found := map[string]map[pair]bool{PodToPodCrossNode: {}, NodeToPod: {}, PodToNode: {}}
	for _, r := range e.Rows(plan, plantest.Flannel()) {
		if of, ok := found[r.ID]; ok {
			of[pair{r.From.Node, r.To.Node}] = true
		}
	}
	return found
}

func TestCrossNodePathsOfALargeLab(t *testing.T) {
	plan := large(t, 20, 5, 4) // 31 Nodes
	nodes := plan.Nodes()
	sample := Extent{}.Sample(plan)
	if sample == nil || sample.Of != 31*30 || sample.Pairs >= 2*31+16 {
		t.Fatalf("sample %+v, want a few more than 31 of 930", sample)
	}
	for id, pairs := range pairsOf(plan, Extent{}) {
		cross, from, to, places := 0, map[string]int{}, map[string]int{}, map[string]bool{}
		for p := range pairs {
			if p.from == p.to {
				continue
			}
			a, _ := plan.Machine(p.from)
			b, _ := plan.Machine(p.to)
			cross++
			from[p.from]++
			to[p.to]++
			places[placeOf(a)+" → "+placeOf(b)] = true
		}
		if cross != sample.Pairs {
			t.Errorf("%s: %d pairs, and the report says %d", id, cross, sample.Pairs)
		}
		for _, n := range nodes {
			if from[n.Name] == 0 || to[n.Name] == 0 {
				t.Errorf("%s: %s is the source of %d and the destination of %d", id, n.Name, from[n.Name], to[n.Name])
			}
			if id != PodToPodCrossNode && !pairs[pair{n.Name, n.Name}] {
				t.Errorf("%s: not within %s", id, n.Name)
			}
		}
		// Four kinds of Nodes, of which the one on both networks is alone.
		if len(places) != 4*4-1 {
			t.Errorf("%s: %d pairs of networks, want 15: %v", id, len(places), places)
		}
	}
	for id, pairs := range pairsOf(plan, Extent{AllPairs: true}) {
		if want := map[bool]int{true: 31 * 30, false: 31 * 31}[id == PodToPodCrossNode]; len(pairs) != want {
			t.Errorf("%s with all pairs: %d, want %d", id, len(pairs), want)
		}
	}
	once, again := Extent{}.Rows(plan, plantest.Flannel()), Extent{}.Rows(large(t, 20, 5, 4), plantest.Flannel())
	if !slices.Equal(once, again) {
		t.Error("the rows of the same lab differ")
	}
}

// In a large lab one Node of each kind asks a Service for all its endpoints, the others a few times.
func TestFewRequestsOfALargeLab(t *testing.T) {
	plan := large(t, 20, 5, 4)
	for _, c := range []struct {
		plan topology.Plan
		Extent
		few int
	}{{plan, Extent{}, 31 - 4}, {plan, Extent{AllPairs: true}, 0}, {large(t, 12, 1, 1), Extent{}, 0}} {
		few, all := map[string]int{}, map[string]int{}
		for _, r := range c.Rows(c.plan, plantest.Flannel()) {
			all[r.ID]++
			if r.Few {
				few[r.ID]++
			}
		}
		for _, id := range []string{PodToClusterIP, PodToClusterIP + "-udp"} {
			if few[id] != c.few || all[id] != len(c.plan.Nodes()) {
				t.Errorf("%s: %d of %d rows are of few requests, want %d", id, few[id], all[id], c.few)
			}
			delete(few, id)
		}
		if len(few) > 0 {
			t.Errorf("other rows are of few requests: %v", few)
		}
	}
}

func TestAllPairsUpTo16Nodes(t *testing.T) {
	plan := large(t, 12, 1, 1) // 16 Nodes
	if s := (Extent{}).Sample(plan); s != nil {
		t.Errorf("a sample of %+v", s)
	}
	if pairs := pairsOf(plan, Extent{})[PodToPodCrossNode]; len(pairs) != 16*15 {
		t.Errorf("%d pairs, want 240", len(pairs))
	}
	if s := (Extent{}).Sample(large(t, 13, 1, 1)); s == nil {
		t.Error("no sample of 17 Nodes")
	}
	if s := (Extent{AllPairs: true}).Sample(large(t, 13, 1, 1)); s != nil {
		t.Errorf("a sample of all pairs: %+v", s)
	}
}

// Nodes of two hypervisors are sampled in both directions between the hypervisors, and within each.
func TestPairsOfHypervisors(t *testing.T) {
	var nodes []topology.Machine
	for i := range 20 {
		nodes = append(nodes, topology.Machine{Name: fmt.Sprint("w", i), Remote: []string{"", "vm://far"}[i%2]})
	}
	ways := map[string]bool{}
	for p := range covering(nodes) {
		at := func(name string) string {
			return nodes[slices.IndexFunc(nodes, func(m topology.Machine) bool { return m.Name == name })].Remote
		}
		ways[at(p.from)+">"+at(p.to)] = true
	}
	if len(ways) != 4 {
		t.Errorf("ways %v, want all four", ways)
	}
}

func TestEnoughRequests(t *testing.T) {
	for _, n := range []int{1, 2, 3, 16, 31, 100, 150} {
		missed := float64(n) * math.Pow(1-1/float64(n), float64(enough(n)))
		if missed > 1e-7 || enough(n) > 4096 {
			t.Errorf("%d endpoints: one is missed with probability %g by %d requests", n, missed, enough(n))
		}
	}
	if enough(0) < 1 {
		t.Error("no request to a Service without endpoints")
	}
}
