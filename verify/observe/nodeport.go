package observe

import (
	"net/netip"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/workload"
)

// NodePortAddress is the address at which an end asks a Node for a NodePort: the first that
// serves NodePorts and that the end reaches. The way's reason says why there is none.
func NodePortAddress(plan topology.Plan, support components.Support, from Ref, node string) (netip.Addr, topology.Reachability) {
	m, _ := plan.Machine(node)
	return topology.Nearest(plan, from.Machine(), support.NodePortAddresses(plan, m))
}

// AnyNodePort is the address at which an end asks the cluster for a NodePort: of the first
// Node that it reaches, workers first.
func AnyNodePort(plan topology.Plan, support components.Support, from Ref) (netip.Addr, topology.Reachability) {
	var all []netip.Addr
	for _, m := range workload.WorkersFirst(plan) {
		all = append(all, support.NodePortAddresses(plan, m)...)
	}
	return topology.Nearest(plan, from.Machine(), all)
}
