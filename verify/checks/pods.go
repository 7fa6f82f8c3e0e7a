package checks

import (
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// Paths between containers, Pods and Nodes.
const (
	ContainerToContainer = "container-to-container"
	PodToPodSameNode     = "pod-to-pod-same-node"
	PodToPodCrossNode    = "pod-to-pod-cross-node"
	NodeToPod            = "node-to-pod"
	PodToNode            = "pod-to-node"
)

func pods() []Check {
	const section = "Pods and Nodes"
	return []Check{
		{
			ID: ContainerToContainer, Section: section, Title: "container → container of the same Pod over localhost",
			Rows: func(l Lab) []Row {
				p := l.Pods.Visitor
				return []Row{reach(observe.AtPod(p), observe.Ref{Kind: report.AtContainer, Name: p.Name, Node: p.Node})}
			},
			Asserts:  []Assertion{Backends{}, ClientIP{Is: Loopback}, SharedPorts{}},
			Suspects: []Suspect{lostPackets},
		},
		{
			ID: PodToPodSameNode, Section: section, Grid: "Pod → Pod", Title: "Pod → Pod IP on the same Node",
			Rows: func(l Lab) []Row {
				var out []Row
				for _, n := range l.Nodes {
					out = append(out, reach(l.second(n.Name), l.echo(n.Name)))
				}
				return out
			},
			Asserts:  []Assertion{Backends{}, ClientIP{Is: Preserved}},
			Suspects: []Suspect{lostPackets},
		},
		{
			ID: PodToPodCrossNode, Section: section, Grid: "Pod → Pod", Title: "Pod → Pod IP on another Node",
			Rows: func(l Lab) []Row {
				if len(l.Nodes) < 2 {
					return skip("Pod", "Pod on another Node", oneNode)
				}
				return l.pairs(func(from, to topology.Machine) (Row, bool) {
					return reach(l.echo(from.Name), l.echo(to.Name)), from.Name != to.Name
				})
			},
			Asserts:  []Assertion{Backends{}, ClientIP{Is: Preserved}, PathMTU{}},
			Suspects: []Suspect{lostPackets},
		},
		{
			ID: NodeToPod, Section: section, Grid: "Node → Pod", Title: "Node → Pod IP, every pair of Nodes",
			Rows: func(l Lab) []Row {
				return l.pairs(func(from, to topology.Machine) (Row, bool) { return reach(observe.AtNode(from), l.echo(to.Name)), true })
			},
			Asserts:  []Assertion{Backends{}},
			Suspects: []Suspect{lostPackets},
		},
		{
			ID: PodToNode, Section: section, Grid: "Pod → Node", Title: "Pod → Node, every pair of Nodes",
			Rows: func(l Lab) []Row {
				return l.pairs(func(from, to topology.Machine) (Row, bool) { return reach(l.echo(from.Name), observe.AtNode(to)), true })
			},
			Asserts:  []Assertion{Backends{}},
			Suspects: []Suspect{lostPackets},
		},
	}
}
