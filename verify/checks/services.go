package checks

import (
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths from Pods to Services inside the cluster.
const (
	PodToClusterIP = "pod-to-clusterip"
	PodHairpin     = "pod-hairpin"
	Affinity       = "service-affinity"
	PodToHeadless  = "pod-to-headless"
)

const (
	sectionServices = "Services"
	gridServices    = "Pod → Service"
)

func services() []Check {
	clusterIP := Check{
		ID: PodToClusterIP, Section: sectionServices, Grid: gridServices, Title: "Pod → Service ClusterIP",
		Rows:     func(l Lab) []Row { return l.sampled(l.fromEach(observe.AtService(workload.ServiceEcho))) },
		Request:  everyEndpoint,
		Asserts:  []Assertion{Backends{Every: true}, ClientIP{Is: PreservedButHairpin}},
		Suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfClient},
	}
	return []Check{
		clusterIP,
		datagrams(clusterIP),
		{
			ID: PodHairpin, Aliases: []string{"pod-to-itself-via-service"}, Section: sectionServices, Grid: gridServices,
			Title:    "Pod → ClusterIP of a Service whose only endpoint is that Pod",
			Rows:     func(l Lab) []Row { return []Row{reach(l.first(), observe.AtService(workload.ServiceItself))} },
			Asserts:  []Assertion{Backends{}},
			Suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfClient},
		},
		{
			ID: Affinity, Section: sectionServices, Grid: gridServices, Title: "Pod and outside host → Service with sessionAffinity ClientIP",
			Rows: func(l Lab) []Row {
				rows := []Row{reach(l.first(), observe.AtService(workload.ServiceAffinity)), reach(l.last(), observe.AtService(workload.ServiceAffinity))}
				for _, c := range l.Clients {
					rows = append(rows, reach(observe.AtHost(c), observe.AtNodePort(workload.ServiceAffinity, l.first().Node)))
				}
				return rows
			},
			Request:  twenty,
			Asserts:  []Assertion{Backends{Same: true}},
			Suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfClient},
		},
		{
			ID: PodToHeadless, Section: sectionServices, Grid: gridServices, Title: "Pod → headless Service by DNS name",
			Rows: func(l Lab) []Row {
				return []Row{reach(l.first(), observe.Ref{Kind: report.AtName, Name: workload.ServiceHeadless})}
			},
			Request:  byName,
			Asserts:  []Assertion{Backends{}, ClientIP{Is: Preserved}, Records{Of: PodAddresses}},
			Suspects: []Suspect{clusterDNS, lostToDNS, kubeProxyOfClient},
		},
	}
}
