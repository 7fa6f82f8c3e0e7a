package checks

import (
	"cmp"
	"net/netip"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// separated says why the ends of a row cannot reach each other by the networks of the lab file
// itself, whatever the cluster does; "" where they can.
func (l Lab) separated(r Row) string {
	from := r.From.Machine()
	if r.Through != "" {
		host, way := r.Through, l.way(from, r.Through)
		if shared, is := sharers(l.Plan, r.Through); is {
			host, way = shared.Hosts[0], topology.Reach(l.Plan, from, shared.VIP)
		}
		_, onward := nodeFor(l.Plan, observe.Ref{Kind: report.AtHost, Name: host})
		return cmp.Or(way.Reason, onward.Reason)
	}
	switch r.To.Kind {
	case report.AtHost:
		_, way := outsideAddress(l.Plan, from, r.To)
		return way.Reason
	case report.AtName:
		return l.nameless(r.To.Name)
	case report.AtNode:
		return l.way(from, r.To.Name).Reason
	}
	if r.From.Kind != report.AtHost {
		return "" // the CNI joins Pods and Nodes
	}
	switch r.To.Kind {
	case report.AtPod:
		if why := l.unroutable(from, l.Plan.Kubernetes.PodCIDR()); why != "" {
			return why
		}
		return l.way(from, r.To.Node).Reason
	case report.AtService:
		if why := l.unroutable(from, l.Plan.Kubernetes.ServiceCIDR()); why != "" {
			return why
		}
		_, way := nodeFor(l.Plan, r.From)
		return way.Reason
	case report.AtNodePort:
		_, way := observe.NodePortAddress(l.Plan, l.Support, r.From, r.To.Node)
		return way.Reason
	case report.AtVIP:
		return l.awayFromVIP(from, r.To.Name)
	case report.AtIngress:
		if l.Plan.Ingress.Service != "NodePort" {
			return l.awayFromVIP(from, "")
		}
		_, way := observe.AnyNodePort(l.Plan, l.Support, r.From)
		return way.Reason
	}
	return ""
}

// way is that from one machine to another.
func (l Lab) way(from, to string) topology.Reachability {
	m, _ := l.Plan.Machine(to)
	_, way := topology.Nearest(l.Plan, from, m.Addresses())
	return way
}

// nodeFor is the first Node that an end reaches; the first of all, and the reason, where it
// reaches none.
func nodeFor(plan topology.Plan, from observe.Ref) (string, topology.Reachability) {
	nodes := plan.Nodes()
	for _, n := range nodes {
		if _, way := topology.Nearest(plan, from.Machine(), n.Addresses()); way.Reachable() {
			return n.Name, way
		}
	}
	_, way := topology.Nearest(plan, from.Machine(), nodes[0].Addresses())
	return nodes[0].Name, way
}

// unroutable says why no packet to a range even leaves a machine: its silence would prove
// nothing about the cluster.
func (l Lab) unroutable(from string, cidr netip.Prefix) string {
	if way := topology.Reach(l.Plan, from, cidr.Addr()); !way.Source.IsValid() {
		return way.Reason
	}
	return ""
}

// awayFromVIP says why a machine does not reach the VIP of a Service; "" for that of the
// Ingress controller.
func (l Lab) awayFromVIP(from, service string) string {
	network, _ := workload.VIPNetwork(l.Plan, service)
	return topology.Reach(l.Plan, from, network.Pools[0].First).Reason
}

// nameless says why a name that the lab's outside DNS serves is not known in every Pod, or its
// host not reached: CoreDNS asks from whichever Node it runs on.
func (l Lab) nameless(name string) string {
	if name != workload.OutsideName(l.Plan) && name != workload.ServiceExternal {
		return ""
	}
	for _, n := range l.Nodes {
		for _, of := range [][]netip.Addr{n.Nameservers, l.Plan.Names[workload.OutsideName(l.Plan)]} {
			if _, way := topology.Nearest(l.Plan, n.Name, of); !way.Reachable() {
				return way.Reason
			}
		}
	}
	return ""
}
