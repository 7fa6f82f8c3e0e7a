package checks

import (
	"cmp"
	"net/netip"
	"slices"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Crossed is the worst that the packets of a row meet on impaired links, with the link that has the
// smallest rate.
func Crossed(s observe.Snapshot, r Row) (worst labs.Impairment, slowest topology.Link) {
	return s.Impaired.Worst(crossed(s, r))
}

// crossed lists the links that the packets of a row may cross: between Nodes for a Pod, a Service or a Node,
// else those to the address that is asked, and from an Ingress controller to the endpoints.
func crossed(s observe.Snapshot, r Row) (links []topology.Link) {
	from, ends := cmp.Or(r.From.Node, r.From.Name), NodesOf(s, r)
	way := func(from string, to netip.Addr, receives func(machine string) bool) {
		links = append(links, topology.Reach(s.Plan, from, to).Links(s.Plan, receives)...)
	}
	between := func(from string) {
		for _, end := range ends {
			if m, known := s.Plan.Machine(end); known && from != end {
				way(from, m.Address(), func(string) bool { return true })
			}
		}
	}
	switch r.To.Kind {
	case report.AtPod, report.AtService, report.AtNode:
		between(from)
		return links
	case report.AtIngress:
		for _, controller := range s.Ingress.Nodes {
			between(controller)
		}
	}
	if _, ip, err := r.address(s); err == nil {
		if to, err := netip.ParseAddr(ip); err == nil {
			way(from, to, func(machine string) bool { return !workload.Local(r.To.Name) || slices.Contains(ends, machine) })
		}
	}
	return links
}
