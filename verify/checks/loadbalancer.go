package checks

import (
	"cmp"
	"fmt"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths to the VIP of a Service of type LoadBalancer.
const (
	PodToLoadBalancer     = "pod-to-loadbalancer"
	OutsideToLoadBalancer = "outside-to-loadbalancer"
)

func loadBalancer() []Check {
	outside := Check{
		ID: OutsideToLoadBalancer, Section: sectionFromOutside, Grid: gridFromOutside, Title: "outside host → VIP of a Service of type LoadBalancer",
		Rows: func(l Lab) []Row {
			var out []Row
			for _, service := range workload.VIPServices(l.Plan) {
				if why := cmp.Or(noOutsideVIP(l, service), scattered(l.Plan, service)); why != "" {
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
		Asserts:  []Assertion{Backends{}, ClientIP{Is: ClientOrNode, Local: Kept, VIP: true}, VIPAnnounced{}},
		Suspects: []Suspect{vipAnnouncer, serviceUnmet, wrongHops, unhealthy, lostPackets, kubeProxyOfClient},
	}
	inside := Check{
		ID: PodToLoadBalancer, Section: sectionServices, Grid: gridServices, Title: "Pod → VIP of a Service of its own cluster",
		Rows: func(l Lab) []Row {
			var out []Row
			for _, service := range workload.VIPServices(l.Plan) {
				if why := noVIP(l.Plan, service); why != "" {
					out = append(out, skip("Pod", service, why)...)
					continue
				}
				// Under externalTrafficPolicy Local too, from Nodes with an endpoint and without one.
				out = append(out, l.fromEach(observe.Ref{Kind: report.AtVIP, Name: service})...)
			}
			return out
		},
		Asserts:  []Assertion{Backends{}, ClientIP{Is: ShortCut, VIP: true}},
		Suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfClient},
	}
	return []Check{inside, outside, datagrams(outside, BothProtocols{})}
}

// noVIP is the reason why a lab has no VIP for a Service, "" where it has one.
func noVIP(plan topology.Plan, service string) string {
	switch {
	case !workload.HasLoadBalancer(plan):
		return "the lab has no load balancer"
	case !workload.VIPFor(plan, service):
		return tooFewVIPs(plan, service)
	}
	return ""
}

// noOutsideVIP is the reason why a lab has no VIP that an outside client could reach, ""
// where it has one.
func noOutsideVIP(l Lab, service string) string {
	if workload.HasLoadBalancer(l.Plan) && len(l.Clients) == 0 {
		return noClient
	}
	return noVIP(l.Plan, service)
}

func tooFewVIPs(plan topology.Plan, service string) string {
	network, _ := workload.VIPNetwork(plan, service)
	return fmt.Sprintf("the lab's pools have too few addresses (%d)", workload.PoolSize(network.Pools))
}
