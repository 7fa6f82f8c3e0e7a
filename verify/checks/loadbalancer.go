package checks

import (
	"fmt"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// OutsideToLoadBalancer is the path to the VIP of a Service of type LoadBalancer.
const OutsideToLoadBalancer = "outside-to-loadbalancer"

func loadBalancer() []Check {
	return []Check{{
		ID: OutsideToLoadBalancer, Section: sectionFromOutside, Grid: gridFromOutside, Title: "outside host → VIP of a Service of type LoadBalancer",
		Rows: func(l Lab) []Row {
			var out []Row
			for _, service := range workload.VIPServices(l.Plan) {
				if why := noVIP(l, service); why != "" {
					out = append(out, skip("outside client", service, why)...)
					continue
				}
				for _, c := range l.Clients {
					out = append(out, reach(observe.AtHost(c), observe.Ref{Kind: report.AtVIP, Name: service}))
				}
			}
			return out
		},
		Request:  twenty,
		Asserts:  []Assertion{Backends{}, ClientIP{Is: ClientOrNode, Local: Kept}, VIPAnnounced{By: ARP}},
		Suspects: []Suspect{vipAnnouncer, serviceUnmet, lostPackets, kubeProxyOfClient},
	}}
}

// noVIP is the reason why a lab has no VIP that an outside client could reach, "" where it
// has one.
func noVIP(l Lab, service string) string {
	switch {
	case !workload.HasLoadBalancer(l.Plan):
		return "the lab has no load balancer"
	case len(l.Clients) == 0:
		return noClient
	case !workload.VIPFor(l.Plan, service):
		return tooFewVIPs(l.Plan, service)
	}
	return ""
}

func tooFewVIPs(plan topology.Plan, service string) string {
	network, _ := workload.VIPNetwork(plan, service)
	return fmt.Sprintf("the lab's pools have too few addresses (%d)", workload.PoolSize(network.Pools))
}
