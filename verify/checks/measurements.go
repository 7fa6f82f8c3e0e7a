package checks

import (
	"fmt"
	"slices"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// The routes that throughput and latency are measured over; their ids are
// "throughput-" and "latency-" with the route behind.
const (
	RouteNodeToNode   = "node-to-node" // the baseline
	RoutePodSameNode  = "pod-same-node"
	RoutePodCrossNode = "pod-cross-node"
	RouteClusterIP    = "clusterip"
	RouteNodePort     = "nodeport"
	RouteLoadBalancer = "loadbalancer"
	RouteIngress      = "ingress"

	throughputID = "throughput-"
	latencyID    = "latency-"
)

// Routes names the routes in the order in which they are measured.
func Routes() []string {
	return []string{RouteNodeToNode, RoutePodSameNode, RoutePodCrossNode, RouteClusterIP, RouteNodePort, RouteLoadBalancer, RouteIngress}
}

// route is one way between a client and the server of the measurements: the same Pod for
// every route, so that what differs between two figures is the way.
type measuredRoute struct {
	name     string
	from, to observe.Ref
	skip     string // why the lab does not have it
}

// Measurements derives the rows of the measurements over some routes: throughput by TCP and
// UDP, each number of streams and both directions (through the ingress HTTP downloads
// alone), latency with one connection and with a connection a request. A route that the
// lab does not have is one skipped row.
func Measurements(plan topology.Plan, throughput, latency []string) []Row {
	var out []Row
	for _, r := range measuredRoutes(plan) {
		if !slices.Contains(throughput, r.name) {
			continue
		}
		p := Row{ID: throughputID + r.name, Measures: report.Throughput, Route: r.name, From: r.from, To: r.to, Protocol: agent.LoadTCP, Expected: report.Reachable, Skip: r.skip}
		protocols, directions := []string{agent.LoadTCP, agent.LoadUDP}, []string{report.Forward, report.Reverse}
		if r.name == RouteIngress {
			protocols, directions = []string{agent.LoadHTTP}, []string{report.Reverse}
		}
		if r.skip != "" {
			p.Protocol = protocols[0]
			out = append(out, p)
			continue
		}
		for _, p.Protocol = range protocols {
			for _, p.Streams = range plan.Verify.Throughput.Streams {
				for _, p.Direction = range directions {
					out = append(out, p)
				}
			}
		}
	}
	for _, r := range measuredRoutes(plan) {
		if !slices.Contains(latency, r.name) {
			continue
		}
		p := Row{ID: latencyID + r.name, Measures: report.LatencyTimes, Route: r.name, From: r.from, To: r.to, Protocol: agent.LoadTCP, Expected: report.Reachable, Skip: r.skip}
		if r.name == RouteIngress {
			p.Protocol = agent.LoadHTTP
		}
		out = append(out, p)
		if p.Connect = true; r.skip == "" {
			out = append(out, p)
		}
	}
	return out
}

func measuredRoutes(plan topology.Plan) []measuredRoute {
	c := workload.PodsOf(plan)
	server, other := c.Echo[0], c.Echo[1]
	clients := plan.WithRole(topology.RoleClient)
	node := func(name string) observe.Ref { return observe.Ref{Kind: report.AtNode, Name: name, Node: name} }
	oneNode := ""
	if server.Node == other.Node {
		oneNode = "the lab has one Node"
	}
	outside, outsideSkip := observe.Ref{Name: "outside client"}, noClient
	if len(clients) > 0 {
		outside, outsideSkip = observe.AtHost(clients[0]), ""
	}
	lbSkip, ingressSkip := outsideSkip, outsideSkip
	switch {
	case !workload.HasLoadBalancer(plan):
		lbSkip = "the lab has no load balancer"
	case outsideSkip == "" && !workload.VipFor(plan, workload.ServiceLBLocal):
		lbSkip = fmt.Sprintf("the lab's pools have too few addresses (%d)", workload.PoolSize(plan))
	}
	if !workload.HasIngress(plan) {
		ingressSkip = "the lab has no ingress controller"
	}
	return []measuredRoute{
		{RouteNodeToNode, node(other.Node), node(server.Node), oneNode},
		{RoutePodSameNode, observe.AtPod(c.SecondOn(server.Node)), observe.AtPod(server), ""},
		{RoutePodCrossNode, observe.AtPod(other), observe.AtPod(server), oneNode},
		{RouteClusterIP, observe.AtPod(other), observe.AtService(workload.ServiceItself), ""},
		{RouteNodePort, outside, observe.AtNodePort(workload.ServiceNodePortLocal, server.Node), outsideSkip},
		{RouteLoadBalancer, outside, observe.Ref{Kind: report.AtVIP, Name: workload.ServiceLBLocal}, lbSkip},
		{RouteIngress, outside, observe.Ref{Kind: report.AtIngress, Name: workload.IngressHosts()[0] + workload.LoadPath}, ingressSkip},
	}
}

// Measured reports whether a path is a measurement.
func (p Row) Measured() bool { return p.Measures != "" }

func (p Row) IsLatency() bool { return p.Measures == report.LatencyTimes }

// Way says which of its route's measurements a path is.
func (p Row) Way() string {
	switch {
	case p.IsLatency() && p.Connect:
		return p.Route + ", a connection a request"
	case p.IsLatency():
		return p.Route + ", one connection"
	}
	return fmt.Sprintf("%s, %s ×%d %s", p.Route, p.Protocol, p.Streams, p.Direction)
}

// Baseline reports whether q is the path between the Nodes themselves that p is compared
// with. HTTP is compared with TCP.
func (p Row) Baseline(q Row) bool {
	protocol := p.Protocol
	if protocol == agent.LoadHTTP {
		protocol = agent.LoadTCP
	}
	return q.Measures == report.Throughput && q.Route == RouteNodeToNode && p.Route != q.Route && q.Protocol == protocol && q.Streams == p.Streams && q.Direction == p.Direction
}
