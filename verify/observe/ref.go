package observe

import (
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Ref is the source or destination of a path, by name: addresses are known only when the
// lab runs.
type Ref struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Node string `json:"node,omitempty"`
}

func AtPod(p workload.Pod) Ref { return Ref{Kind: report.AtPod, Name: p.Name, Node: p.Node} }

func AtNode(m topology.Machine) Ref { return Ref{Kind: report.AtNode, Name: m.Name, Node: m.Name} }

func AtHost(m topology.Machine) Ref { return Ref{Kind: report.AtHost, Name: m.Name} }

func AtService(name string) Ref { return Ref{Kind: report.AtService, Name: name} }

func AtNodePort(service, node string) Ref {
	return Ref{Kind: report.AtNodePort, Name: service, Node: node}
}

// Machine names the Node or outside host whose routes the packets of an end take; "" where
// that is not known.
func (r Ref) Machine() string {
	if r.Kind == report.AtHost {
		return r.Name
	}
	return r.Node
}

// AtHostPort is the port of a Pod on its Node.
func AtHostPort(p workload.Pod) Ref { return Ref{Kind: report.AtNodePort, Name: p.Name, Node: p.Node} }
