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
	PodToHeadless  = "pod-to-headless"
)

const (
	sectionServices = "Services"
	gridServices    = "Pod → Service"
)

func services() []Check {
	return []Check{
		{
			ID: PodToClusterIP, Section: sectionServices, Grid: gridServices, Title: "Pod → Service ClusterIP",
			Rows:     func(l Lab) []Row { return l.fromEach(observe.AtService(workload.ServiceEcho)) },
			Request:  everyEndpoint,
			Asserts:  []Assertion{Backends{Every: true}, ClientIP{Is: PreservedButHairpin}},
			Suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfClient},
		},
		{
			ID: PodHairpin, Aliases: []string{"pod-to-itself-via-service"}, Section: sectionServices, Grid: gridServices,
			Title:    "Pod → ClusterIP of a Service whose only endpoint is that Pod",
			Rows:     func(l Lab) []Row { return []Row{reach(l.first(), observe.AtService(workload.ServiceItself))} },
			Asserts:  []Assertion{Backends{}},
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
