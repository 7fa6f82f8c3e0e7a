package checks

import (
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/workload"
)

// Paths to a NodePort.
const (
	PodToNodePort     = "pod-to-nodeport"
	OutsideToNodePort = "outside-to-nodeport"
	OutsideToHostPort = "outside-to-hostport"
)

const (
	sectionFromOutside = "From outside"
	gridFromOutside    = "outside → Pod and Service"
)

func nodePorts() []Check {
	inside := Check{
		ID: PodToNodePort, Section: sectionServices, Grid: gridServices, Title: "Pod → every Node:port",
		Rows: func(l Lab) []Row {
			var out []Row
			for _, n := range l.Nodes {
				out = append(out, reach(l.first(), observe.AtNodePort(workload.ServiceNodePort, n.Name)))
			}
			// Rows to a Node without an endpoint are left out: kube-proxy treats Pods as local,
			// but only where their address is not rewritten on the way, which differs by CNI.
			return append(out, reach(l.last(), observe.AtNodePort(workload.ServiceNodePortLocal, l.first().Node)))
		},
		Asserts:  []Assertion{Backends{}, ClientIP{Is: ClientOrNode, Local: ClientOrOwnNode}},
		Suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfTarget},
	}
	outside := Check{
		ID: OutsideToNodePort, Section: sectionFromOutside, Grid: gridFromOutside, Title: "outside host → every Node:port",
		Rows: func(l Lab) []Row {
			if len(l.Clients) == 0 {
				return skip("outside client", "Node:port", noClient)
			}
			var out []Row
			for _, c := range l.Clients {
				for _, n := range l.Nodes {
					out = append(out, reach(observe.AtHost(c), observe.AtNodePort(workload.ServiceNodePort, n.Name)))
				}
				for _, n := range l.Nodes {
					r := reach(observe.AtHost(c), observe.AtNodePort(workload.ServiceNodePortLocal, n.Name))
					if n.Name != l.first().Node {
						r = r.blocked()
					}
					out = append(out, r)
				}
			}
			return out
		},
		Asserts:  []Assertion{Silent{Control: targetNode, Where: "from a Node without an endpoint under externalTrafficPolicy Local"}, Backends{}, ClientIP{Is: ClientOrNode, Local: Kept}},
		Suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfTarget},
	}
	hostPort := Check{
		ID: OutsideToHostPort, Section: sectionFromOutside, Grid: gridFromOutside, Title: "outside host → hostPort of a Pod on its Node",
		Rows: func(l Lab) []Row {
			if len(l.Clients) == 0 {
				return skip("outside client", "Node:hostPort", noClient)
			}
			var out []Row
			for _, c := range l.Clients {
				out = append(out, reach(observe.AtHost(c), observe.AtHostPort(l.Pods.Visitor)))
			}
			return out
		},
		Asserts:  []Assertion{Backends{}, ClientIP{Is: Kept}},
		Suspects: []Suspect{lostPackets},
	}
	return []Check{inside, datagrams(inside), outside, datagrams(outside), hostPort}
}
