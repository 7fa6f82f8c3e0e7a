package checks

import (
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths out of the cluster, and from outside to addresses inside it.
const (
	PodToExternalName  = "pod-to-externalname"
	PodToOutside       = "pod-to-outside"
	OutsideToClusterIP = "outside-to-clusterip"
	OutsideToPod       = "outside-to-pod"
)

func toOutside() []Check {
	const section = "To outside"
	return []Check{
		{
			ID: PodToExternalName, Section: section, Title: "Pod → ExternalName Service → outside host",
			Rows: func(l Lab) []Row {
				if workload.OutsideName(l.Plan) == "" {
					return skip("Pod", workload.ServiceExternal, noInternet)
				}
				return []Row{reach(l.first(), observe.Ref{Kind: report.AtName, Name: workload.ServiceExternal})}
			},
			Request:  byName,
			Asserts:  []Assertion{Backends{Host: true}, ClientIP{Is: EgressNode}, Records{Of: CanonicalName}},
			Suspects: []Suspect{clusterDNS, lostToDNS, kubeProxyOfClient},
		},
		{
			ID: PodToOutside, Section: section, Title: "Pod → outside host",
			Rows: func(l Lab) []Row {
				var out []Row
				for _, n := range l.Nodes {
					target, ok := observe.OutsideTarget(l.Plan, n.Name)
					if !ok {
						return skip("Pod", "outside host", "the lab has no host outside the cluster")
					}
					out = append(out, reach(l.echo(n.Name), observe.AtHost(target)))
				}
				return out
			},
			Asserts:  []Assertion{Backends{}, ClientIP{Is: EgressNode}},
			Suspects: []Suspect{lostPackets},
		},
	}
}

func fromOutside() []Check {
	return []Check{
		{
			ID: OutsideToClusterIP, Section: sectionFromOutside, Grid: gridFromOutside, Title: "outside host → Service ClusterIP",
			Rows: func(l Lab) []Row {
				if len(l.Clients) == 0 {
					return []Row{skip("outside client", workload.ServiceEcho, noClient)[0].blocked()}
				}
				var out []Row
				for _, c := range l.Clients {
					out = append(out, reach(observe.AtHost(c), observe.AtService(workload.ServiceEcho)).blocked())
				}
				return out
			},
			Asserts: []Assertion{Silent{Control: nearestNode}},
		},
		{
			ID: OutsideToPod, Section: sectionFromOutside, Grid: gridFromOutside, Title: "outside host → Pod IP",
			Rows: func(l Lab) []Row {
				expected := func(r Row) Row {
					if l.Support.RoutesPodCIDR {
						return r
					}
					return r.blocked()
				}
				if len(l.Clients) == 0 {
					return []Row{expected(skip("outside client", "Pod", noClient)[0])}
				}
				var out []Row
				for _, c := range l.Clients {
					for _, n := range l.Nodes {
						out = append(out, expected(reach(observe.AtHost(c), l.echo(n.Name))))
					}
				}
				return out
			},
			Asserts:  []Assertion{Silent{Control: targetNode, Where: "(unless routers learn Pod CIDRs)"}, Backends{}, ClientIP{Is: Preserved}},
			Suspects: []Suspect{lostPackets},
		},
	}
}
