package checks

import (
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// IDs gives the ids of the paths, in the report's order.
func IDs() []string {
	var ids []string
	for _, s := range Sections() {
		ids = append(ids, s.IDs...)
	}
	return ids
}

// Sections are the groups that a report shows its paths in. Measurements are in none.
func Sections() []report.Section {
	return []report.Section{
		{Title: "Pods and Nodes", IDs: []string{ContainerToContainer, PodToPodSameNode, PodToPodCrossNode, NodeToPod, PodToNode}},
		{Title: "Services", IDs: []string{PodToClusterIP, PodHairpin, PodToHeadless, PodToNodePort}},
		{Title: "DNS", IDs: []string{DNSService, DNSExternal}},
		{Title: "From outside", IDs: []string{OutsideToNodePort, OutsideToLoadBalancer, OutsideToIngressHTTP, OutsideToIngressHTTPS, OutsideToClusterIP, OutsideToPod}},
		{Title: "To outside", IDs: []string{PodToExternalName, PodToOutside}},
		{Title: "Policies", IDs: append(workload.PolicyIDs(), PolicyL7)},
	}
}

// Grids are the matrices of the report, by the ids whose ends are their rows and columns.
func Grids() []report.Section {
	return []report.Section{
		{Title: "Pod → Pod", IDs: []string{PodToPodSameNode, PodToPodCrossNode}},
		{Title: "Node → Pod", IDs: []string{NodeToPod}},
		{Title: "Pod → Node", IDs: []string{PodToNode}},
		{Title: "Pod → Service", IDs: []string{PodToClusterIP, PodHairpin, PodToHeadless, PodToNodePort}},
		{Title: "outside → Pod and Service", IDs: []string{OutsideToNodePort, OutsideToLoadBalancer, OutsideToClusterIP, OutsideToPod}},
	}
}

// Layout is how reports show the paths.
func Layout() report.Layout { return report.Layout{Sections: Sections(), Grids: Grids()} }
