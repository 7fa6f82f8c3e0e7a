package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// away reports the first machine on the path that is off, or Node that is not registered or not
// Ready.
func away(c Case) string {
	for _, name := range onThePath(c) {
		if why := cmp.Or(c.Away[name], c.away[name]); why != "" {
			return why
		}
	}
	return ""
}

// linkDown reports the first machine on the path that lost the link by which it is on the network of
// the other machines of the path: its first NIC's, which Nodes and VIPs use.
func linkDown(c Case) string {
	for _, name := range onThePath(c) {
		m, known := c.Plan.Machine(name)
		if known && len(m.NICs) > 0 && slices.Contains(c.LinksDown[name], m.NICs[0].Name) && (c.Finding.Outcome == report.Fail || c.Row.Policy() != nil) {
			return linkText(name, m.NICs[0].Name)
		}
	}
	return ""
}

func linkText(machine, nic string) string {
	return fmt.Sprintf("the link of %s %s is down", machine, nic)
}

// Links lists the links of a lab that are down, in words.
func Links(s observe.Snapshot) (lines []string) {
	for _, m := range s.Plan.Machines {
		for _, nic := range s.LinksDown[m.Name] {
			lines = append(lines, linkText(m.Name, nic))
		}
	}
	return lines
}

// Impaired lists the links of a lab that are impaired, in words.
func Impaired(s observe.Snapshot) []string { return s.Impaired.Lines(s.Plan, s.Off) }

// outOfOrder lists what is off or has no link in the lab, for a failure that nothing else explains.
func outOfOrder(c Case) string {
	lines := Links(c.Snapshot)
	if len(c.Off) > 0 {
		lines = append(lines, strings.Join(c.Off, ", ")+" "+map[bool]string{true: "is", false: "are"}[len(c.Off) == 1]+" off")
	}
	return strings.Join(lines, "; ")
}

// onThePath lists the machines that packets of a row should cross: its ends, Nodes, routers and a host
// that has the VIP, and for a name the Nodes of CoreDNS.
func onThePath(c Case) []string {
	r := c.Row
	names := slices.Clone(c.Finding.Nodes)
	for _, end := range []observe.Ref{r.From, r.To} {
		names = append(names, end.Node)
		if end.Kind == report.AtNode || end.Kind == report.AtHost {
			names = append(names, end.Name)
		}
	}
	if host, _ := r.Balancer(c.Snapshot); host != "" {
		names = append(names, host)
	}
	for _, l := range c.legs() {
		names = append(names, l.From.Machine(), l.To.Machine())
	}
	if _, ip, err := r.address(c.Snapshot); err == nil {
		if addr, err := netip.ParseAddr(ip); err == nil {
			names = append(names, topology.Reach(c.Plan, cmp.Or(r.From.Node, r.From.Name), addr).Routers()...)
			if host, external := c.Plan.External(); external && c.Plan.LoadBalancer.Contains(addr) {
				names = append(names, host.Name)
			}
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
