package checks

import (
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/report"
)

// Extent is how much of a lab is verified.
type Extent struct {
	Thorough bool // the paths that take long too
	AllPairs bool // cross-Node paths between all pairs of Nodes, however many there are

	Only []string // ids of paths; none for all
	Own  []Row    // of the user's paths
}

// asks reports whether a path is asked.
func (e Extent) asks(c Check) bool { return len(e.Only) == 0 || slices.Contains(e.Only, c.ID) }

// sampleAbove is the number of Nodes above which cross-Node paths are verified between a sample of
// the pairs of Nodes: all pairs grow with the square of it.
const sampleAbove = 16

// pair is the names of two Nodes: the source's and the destination's.
type pair struct{ from, to string }

// pairs are the pairs of Nodes that cross-Node paths are verified between; nil for all.
func (e Extent) pairs(nodes []topology.Machine) map[pair]bool {
	if e.AllPairs || len(nodes) <= sampleAbove {
		return nil
	}
	return covering(nodes)
}

// covering is a sample of the pairs of Nodes, the same for the same Nodes. Each Node is once a
// source and once a destination, that of the Node before it; further pairs follow until all
// places are a source for all places.
func covering(nodes []topology.Machine) map[pair]bool {
	sample, covered := map[pair]bool{}, map[pair]bool{}
	for step := 1; step < len(nodes); step++ {
		for i, from := range nodes {
			to := nodes[(i+step)%len(nodes)]
			places := pair{placeOf(from), placeOf(to)}
			if step == 1 || !covered[places] {
				sample[pair{from.Name, to.Name}], covered[places] = true, true
			}
		}
	}
	return sample
}

// sampled marks the rows of a large lab from one Node each that do not ask for every endpoint of a
// Service, because such requests grow with the square of the Nodes: the first Node of each place does.
func (l Lab) sampled(rows []Row) []Row {
	if l.sample == nil {
		return rows
	}
	asked := map[string]bool{}
	for i, n := range l.Nodes {
		rows[i].Few = asked[placeOf(n)]
		asked[placeOf(n)] = true
	}
	return rows
}

// placeOf is what the way of packets from and to a Node depends on: its networks, and the
// hypervisor that it runs on.
func placeOf(m topology.Machine) string {
	place := []string{m.Remote}
	for _, n := range m.NICs {
		place = append(place, n.Network)
	}
	return strings.Join(place, "\n")
}

// Sample is how many of the pairs of Nodes cross-Node paths are verified between; nil for all.
func (e Extent) Sample(plan topology.Plan) *report.Sample {
	nodes := plan.Nodes()
	sample := e.pairs(nodes)
	if sample == nil {
		return nil
	}
	return &report.Sample{Pairs: len(sample), Of: len(nodes) * (len(nodes) - 1)}
}
