package checks

import (
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths from Pods to the cluster DNS.
const (
	DNSService  = "dns-service"
	DNSExternal = "dns-external"
)

func dns() []Check {
	const section = "DNS"
	lookup := func(l Lab, name string) []Row {
		rows := l.fromEach(observe.Ref{Kind: report.AtName, Name: name})
		for i := range rows {
			rows[i].Protocol = agent.DNS
		}
		return rows
	}
	return []Check{
		{
			ID: DNSService, Section: section, Title: "Pod → cluster DNS, short name of a Service",
			Rows:     func(l Lab) []Row { return lookup(l, workload.ServiceEcho) },
			Request:  shortName,
			Asserts:  []Assertion{Records{Of: ServiceAddress}},
			Suspects: []Suspect{clusterDNS, lostToDNS, kubeProxyOfClient},
		},
		{
			ID: DNSExternal, Section: section, Title: "Pod → cluster DNS, name served by the lab's outside DNS",
			Rows: func(l Lab) []Row {
				name := workload.OutsideName(l.Plan)
				if name == "" {
					rows := skip("Pod", "outside name", noInternet)
					rows[0].Protocol = agent.DNS
					return rows
				}
				return lookup(l, name)
			},
			Request:  fullName,
			Asserts:  []Assertion{Records{Of: OutsideAddress}},
			Suspects: []Suspect{clusterDNS, lostToDNS, kubeProxyOfClient},
		},
	}
}
