// Package checks says what each communication path of a lab is: which rows a plan and its
// CNI give it, which probes a row takes, what must be true of the answers, and what
// explains a failure. It takes an observe.Snapshot and answers, and gives findings; it
// sends no probe and changes no cluster (see verify/run).
package checks

import (
	"cmp"
	"fmt"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// The ids of the paths, as the report's JSON has them.
const (
	ContainerToContainer  = "container-to-container"
	PodToPodSameNode      = "pod-to-pod-same-node"
	PodToPodCrossNode     = "pod-to-pod-cross-node"
	NodeToPod             = "node-to-pod"
	PodToNode             = "pod-to-node"
	PodToClusterIP        = "pod-to-clusterip"
	PodHairpin            = "pod-to-itself-via-service"
	PodToHeadless         = "pod-to-headless"
	DNSService            = "dns-service"
	DNSExternal           = "dns-external"
	PodToNodePort         = "pod-to-nodeport"
	OutsideToNodePort     = "outside-to-nodeport"
	OutsideToLoadBalancer = "outside-to-loadbalancer"
	OutsideToIngressHTTP  = "outside-to-ingress-http"
	OutsideToIngressHTTPS = "outside-to-ingress-https"
	PodToExternalName     = "pod-to-externalname"
	PodToOutside          = "pod-to-outside"
	OutsideToClusterIP    = "outside-to-clusterip"
	OutsideToPod          = "outside-to-pod"
)

// PolicyL7 is the path of the L7 policy.
const PolicyL7 = "policy-l7"

// Row is one row to prove.
type Row struct {
	ID       string      `json:"id"`
	From     observe.Ref `json:"from"`
	To       observe.Ref `json:"to"`
	Protocol string      `json:"protocol"`
	Expected string      `json:"expected"`
	Skip     string      `json:"skip,omitempty"` // why it cannot exist in this lab

	Measures  string `json:"measures,omitempty"`  // throughput or latency, of a measurement
	Route     string `json:"route,omitempty"`     // of a measurement
	Streams   int    `json:"streams,omitempty"`   // throughput-*: at a time
	Direction string `json:"direction,omitempty"` // throughput-*
	Connect   bool   `json:"connect,omitempty"`   // latency-*: each request on a connection of its own
}

// Rows derives the rows of a plan: every id at least once, as a skip with its reason
// where the lab has nothing to prove it on. The order is fixed.
func Rows(plan topology.Plan, support components.Support) []Row {
	d := derivation{plan: plan, support: support, cast: workload.PodsOf(plan), nodes: plan.Nodes(), clients: plan.WithRole(topology.RoleClient)}
	d.pods()
	d.services()
	d.names()
	d.nodePorts()
	d.loadBalancer()
	d.ingress()
	d.outside()
	d.policies()
	return d.paths
}

type derivation struct {
	plan    topology.Plan
	support components.Support
	cast    workload.Pods
	nodes   []topology.Machine
	clients []topology.Machine
	paths   []Row
}

func (d *derivation) add(id string, from, to observe.Ref, protocol, expected string) {
	d.paths = append(d.paths, Row{ID: id, From: from, To: to, Protocol: protocol, Expected: expected})
}

func (d *derivation) skip(id, from, to, protocol, expected, reason string) {
	d.paths = append(d.paths, Row{ID: id, From: observe.Ref{Name: from}, To: observe.Ref{Name: to}, Protocol: protocol, Expected: expected, Skip: reason})
}

func (d *derivation) echo(node string) observe.Ref { return observe.AtPod(d.cast.EchoOn(node)) }

func (d *derivation) second(node string) observe.Ref { return observe.AtPod(d.cast.SecondOn(node)) }

func (d *derivation) pods() {
	visitor := d.cast.Visitor
	d.add(ContainerToContainer, observe.AtPod(visitor), observe.Ref{Kind: report.AtContainer, Name: visitor.Name, Node: visitor.Node}, "http", report.Reachable)
	for _, n := range d.nodes {
		d.add(PodToPodSameNode, d.second(n.Name), d.echo(n.Name), "http", report.Reachable)
	}
	pairs := func(visit func(from, to topology.Machine)) {
		for _, from := range d.nodes {
			for _, to := range d.nodes {
				visit(from, to)
			}
		}
	}
	pairs(func(from, to topology.Machine) {
		if from.Name != to.Name {
			d.add(PodToPodCrossNode, d.echo(from.Name), d.echo(to.Name), "http", report.Reachable)
		}
	})
	if len(d.nodes) < 2 {
		d.skip(PodToPodCrossNode, "Pod", "Pod on another Node", "http", report.Reachable, "the lab has one Node")
	}
	pairs(func(from, to topology.Machine) {
		d.add(NodeToPod, observe.AtNode(from), d.echo(to.Name), "http", report.Reachable)
	})
	pairs(func(from, to topology.Machine) {
		d.add(PodToNode, d.echo(from.Name), observe.AtNode(to), "http", report.Reachable)
	})
}

func (d *derivation) services() {
	for _, n := range d.nodes {
		d.add(PodToClusterIP, d.echo(n.Name), observe.AtService(workload.ServiceEcho), "http", report.Reachable)
	}
	d.add(PodHairpin, observe.AtPod(d.cast.Echo[0]), observe.AtService(workload.ServiceItself), "http", report.Reachable)
	d.add(PodToHeadless, observe.AtPod(d.cast.Echo[0]), observe.Ref{Kind: report.AtName, Name: workload.ServiceHeadless}, "http", report.Reachable)
}

func (d *derivation) names() {
	for _, n := range d.nodes {
		d.add(DNSService, d.echo(n.Name), observe.Ref{Kind: report.AtName, Name: workload.ServiceEcho}, "dns", report.Reachable)
	}
	name := workload.OutsideName(d.plan)
	if name == "" {
		d.skip(DNSExternal, "Pod", "outside name", "dns", report.Reachable, noInternet)
		return
	}
	for _, n := range d.nodes {
		d.add(DNSExternal, d.echo(n.Name), observe.Ref{Kind: report.AtName, Name: name}, "dns", report.Reachable)
	}
}

const (
	noInternet = "the lab has no internet host"
	noClient   = "the lab has no outside client"
)

func (d *derivation) nodePorts() {
	first, last := d.cast.Echo[0], d.cast.Echo[len(d.cast.Echo)-1]
	for _, n := range d.nodes {
		d.add(PodToNodePort, observe.AtPod(first), observe.AtNodePort(workload.ServiceNodePort, n.Name), "http", report.Reachable)
	}
	// A Pod that asks a Node without an endpoint is left out: kube-proxy treats Pods as
	// local, but only where their address is not rewritten on the way, which differs by CNI.
	d.add(PodToNodePort, observe.AtPod(last), observe.AtNodePort(workload.ServiceNodePortLocal, first.Node), "http", report.Reachable)
	if len(d.clients) == 0 {
		d.skip(OutsideToNodePort, "outside client", "Node:port", "http", report.Reachable, noClient)
	}
	for _, c := range d.clients {
		for _, n := range d.nodes {
			d.add(OutsideToNodePort, observe.AtHost(c), observe.AtNodePort(workload.ServiceNodePort, n.Name), "http", report.Reachable)
		}
		for _, n := range d.nodes {
			expected := report.Unreachable
			if n.Name == first.Node {
				expected = report.Reachable
			}
			d.add(OutsideToNodePort, observe.AtHost(c), observe.AtNodePort(workload.ServiceNodePortLocal, n.Name), "http", expected)
		}
	}
}

func (d *derivation) loadBalancer() {
	skip := func(service, reason string) {
		d.skip(OutsideToLoadBalancer, "outside client", service, "http", report.Reachable, reason)
	}
	for _, service := range []string{workload.ServiceLB, workload.ServiceLBLocal} {
		switch {
		case !workload.HasLoadBalancer(d.plan):
			skip(service, "the lab has no load balancer")
		case len(d.clients) == 0:
			skip(service, noClient)
		case !workload.VipFor(d.plan, service):
			skip(service, fmt.Sprintf("the lab's pools have too few addresses (%d)", workload.PoolSize(d.plan)))
		}
		if !workload.HasLoadBalancer(d.plan) || !workload.VipFor(d.plan, service) {
			continue
		}
		for _, c := range d.clients {
			d.add(OutsideToLoadBalancer, observe.AtHost(c), observe.Ref{Kind: report.AtVIP, Name: service}, "http", report.Reachable)
		}
	}
}

func (d *derivation) ingress() {
	for _, row := range []struct{ id, protocol string }{{OutsideToIngressHTTP, "http"}, {OutsideToIngressHTTPS, "https"}} {
		switch {
		case !workload.HasIngress(d.plan):
			d.skip(row.id, "outside client", "Ingress", row.protocol, report.Reachable, "the lab has no ingress controller")
			continue
		case len(d.clients) == 0:
			d.skip(row.id, "outside client", "Ingress", row.protocol, report.Reachable, noClient)
			continue
		}
		for _, c := range d.clients {
			for _, r := range workload.IngressRoutes() {
				d.add(row.id, observe.AtHost(c), observe.Ref{Kind: report.AtIngress, Name: r.Host + r.Path}, row.protocol, report.Reachable)
			}
			d.add(row.id, observe.AtHost(c), observe.Ref{Kind: report.AtIngress, Name: workload.UnknownHost + "/"}, row.protocol, report.Reachable)
		}
	}
}

func (d *derivation) outside() {
	first := d.cast.Echo[0]
	if workload.OutsideName(d.plan) == "" {
		d.skip(PodToExternalName, "Pod", workload.ServiceExternal, "http", report.Reachable, noInternet)
	} else {
		d.add(PodToExternalName, observe.AtPod(first), observe.Ref{Kind: report.AtName, Name: workload.ServiceExternal}, "http", report.Reachable)
	}
	if target, ok := observe.OutsideTarget(d.plan); !ok {
		d.skip(PodToOutside, "Pod", "outside host", "http", report.Reachable, "the lab has no host outside the cluster")
	} else {
		for _, n := range d.nodes {
			d.add(PodToOutside, d.echo(n.Name), observe.AtHost(target), "http", report.Reachable)
		}
	}
	toPod := report.Unreachable
	if d.support.RoutesPodCIDR {
		toPod = report.Reachable
	}
	if len(d.clients) == 0 {
		d.skip(OutsideToClusterIP, "outside client", workload.ServiceEcho, "http", report.Unreachable, noClient)
		d.skip(OutsideToPod, "outside client", "Pod", "http", toPod, noClient)
	}
	for _, c := range d.clients {
		d.add(OutsideToClusterIP, observe.AtHost(c), observe.AtService(workload.ServiceEcho), "http", report.Unreachable)
	}
	for _, c := range d.clients {
		for _, n := range d.nodes {
			d.add(OutsideToPod, observe.AtHost(c), d.echo(n.Name), "http", toPod)
		}
	}
}

func (d *derivation) policies() {
	expected := report.Enforced
	if !d.support.NetworkPolicy {
		expected = report.NotEnforced
	}
	for _, id := range workload.PolicyIDs() {
		p := ScenarioOf(id, d.cast)
		d.add(id, p.Denied.From, p.Denied.To, p.Denied.Kind, expected)
	}
	if !d.support.L7Policy {
		d.skip(PolicyL7, "Pod", "Pod", agent.HTTP, report.Enforced, cmp.Or(d.support.L7Reason, "the CNI has no L7 policy"))
		return
	}
	denied := L7ScenarioOf(d.cast).Denied[0]
	d.add(PolicyL7, denied.From, denied.To, denied.Kind, report.Enforced)
}
