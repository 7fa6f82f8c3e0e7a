package checks

import (
	"cmp"
	"net/netip"
	"slices"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// machineOff reports the first machine on the path that is off.
func machineOff(c Case) string {
	for _, name := range onThePath(c) {
		if c.IsOff(name) {
			return c.Away[name]
		}
	}
	return ""
}

// onThePath lists the machines that packets of a row should cross: its ends, Nodes and routers,
// and for a name the Nodes of CoreDNS.
func onThePath(c Case) []string {
	r := c.Row
	names := slices.Concat(c.Finding.Nodes, []string{r.From.Name, r.To.Name})
	if _, ip, err := c.Address(r.From, r.To, r.Protocol); err == nil {
		if addr, err := netip.ParseAddr(ip); err == nil {
			names = append(names, topology.Reach(c.Plan, cmp.Or(r.From.Node, r.From.Name), addr).Routers()...)
		}
	}
	if r.Protocol == agent.DNS || r.To.Kind == report.AtName {
		names = append(names, dnsNodes(c.State)...)
	}
	return names
}

// dnsNodes are the Nodes of the ready Pods of CoreDNS.
func dnsNodes(s observe.State) (nodes []string) {
	for _, pod := range s.Ready("kube-system", "kube-dns") {
		if p := s.Pod("kube-system", pod); p != nil {
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	return nodes
}
