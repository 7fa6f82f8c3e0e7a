package checks

import (
	"net/http"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// OutsideToLBByHand is the path through hosts of role load-balancer, which nothing in the cluster knows of.
const OutsideToLBByHand = "outside-to-lb-by-hand"

func byHand() []Check {
	return []Check{{
		ID: OutsideToLBByHand, Section: sectionFromOutside,
		Title:    "outside host → load balancer that is configured by hand → Ingress by NodePort, over HTTP and HTTPS",
		Rows:     byHandRows,
		Request:  virtualHost,
		Asserts:  []Assertion{Status{}, Backends{}, Certificate{}},
		Suspects: []Suspect{ingressController, ingressBackend, lostPackets},
	}}
}

// byHandRows ask each load balancer for every host and path of the Ingress, and for an unknown host.
func byHandRows(l Lab) []Row {
	balancers := l.Plan.WithRole(topology.RoleLoadBalancer)
	switch {
	case len(balancers) == 0:
		return skip("outside client", "load balancer", "the lab has no host with role load-balancer")
	case len(l.Clients) == 0:
		return skip("outside client", "load balancer", noClient)
	}
	var out []Row
	for _, b := range balancers {
		for _, c := range l.Clients {
			for _, protocol := range []string{agent.HTTP, agent.HTTPS} {
				to := func(name string, status int) {
					r := reach(observe.AtHost(c), observe.Ref{Kind: report.AtIngress, Name: name}).over(protocol)
					r.Through, r.Status = b.Name, status
					out = append(out, r)
				}
				for _, r := range workload.IngressRoutes() {
					to(r.Host+r.Path, 0)
				}
				to(workload.UnknownHost+"/", http.StatusNotFound)
			}
		}
	}
	return out
}
