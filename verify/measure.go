package verify

import (
	"fmt"
	"slices"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
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

// The directions of a throughput.
const (
	Forward = "forward" // the client sends
	Reverse = "reverse" // the server sends
)

// loadPath is where the Ingress leads to the server of a measurement.
const loadPath = "/measure"

// route is one way between a client and the server of the measurements: the same Pod for
// every route, so that what differs between two figures is the way.
type measuredRoute struct {
	name     string
	from, to Ref
	skip     string // why the lab does not have it
}

// Measures derives the rows of the measurements over some routes: throughput by TCP and
// UDP, each number of streams and both directions (through the ingress HTTP downloads
// alone), latency with one connection and with a connection a request. A route that the
// lab does not have is one skipped row.
func Measures(plan topology.Plan, throughput, latency []string) []Path {
	var out []Path
	for _, r := range measuredRoutes(plan) {
		if !slices.Contains(throughput, r.name) {
			continue
		}
		p := Path{ID: throughputID + r.name, From: r.from, To: r.to, Protocol: agent.LoadTCP, Expected: Reachable, Skip: r.skip}
		protocols, directions := []string{agent.LoadTCP, agent.LoadUDP}, []string{Forward, Reverse}
		if r.name == RouteIngress {
			protocols, directions = []string{agent.LoadHTTP}, []string{Reverse}
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
		p := Path{ID: latencyID + r.name, From: r.from, To: r.to, Protocol: agent.LoadTCP, Expected: Reachable, Skip: r.skip}
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
	c := castOf(plan)
	server, other := c.Echo[0], c.Echo[1]
	clients := plan.WithRole(topology.RoleClient)
	node := func(name string) Ref { return Ref{Kind: AtNode, Name: name, Node: name} }
	oneNode := ""
	if server.Node == other.Node {
		oneNode = "the lab has one Node"
	}
	outside, outsideSkip := Ref{Name: "outside client"}, noClient
	if len(clients) > 0 {
		outside, outsideSkip = atHost(clients[0]), ""
	}
	lbSkip, ingressSkip := outsideSkip, outsideSkip
	switch {
	case !hasLoadBalancer(plan):
		lbSkip = "the lab has no load balancer"
	case outsideSkip == "" && !vipFor(plan, ServiceLBLocal):
		lbSkip = fmt.Sprintf("the lab's pools have too few addresses (%d)", poolSize(plan))
	}
	if !hasIngress(plan) {
		ingressSkip = "the lab has no ingress controller"
	}
	return []measuredRoute{
		{RouteNodeToNode, node(other.Node), node(server.Node), oneNode},
		{RoutePodSameNode, atPod(c.secondOn(server.Node)), atPod(server), ""},
		{RoutePodCrossNode, atPod(other), atPod(server), oneNode},
		{RouteClusterIP, atPod(other), atService(ServiceItself), ""},
		{RouteNodePort, outside, atNodePort(ServiceNodePortLocal, server.Node), outsideSkip},
		{RouteLoadBalancer, outside, Ref{Kind: AtVIP, Name: ServiceLBLocal}, lbSkip},
		{RouteIngress, outside, Ref{Kind: AtIngress, Name: ingressHosts()[0] + loadPath}, ingressSkip},
	}
}

// route is that of a measured path.
func (p Path) route() string {
	for _, r := range Routes() {
		if p.ID == throughputID+r || p.ID == latencyID+r {
			return r
		}
	}
	return ""
}

func (p Path) isLatency() bool { return p.ID == latencyID+p.route() }

// way says which of its route's measurements a path is.
func (p Path) way() string {
	switch {
	case p.isLatency() && p.Connect:
		return p.route() + ", a connection a request"
	case p.isLatency():
		return p.route() + ", one connection"
	}
	return fmt.Sprintf("%s, %s ×%d %s", p.route(), p.Protocol, p.Streams, p.Direction)
}

// baseline reports whether q is the path between the Nodes themselves that p is compared
// with. HTTP is compared with TCP.
func (p Path) baseline(q Path) bool {
	protocol := p.Protocol
	if protocol == agent.LoadHTTP {
		protocol = agent.LoadTCP
	}
	return q.ID == throughputID+RouteNodeToNode && p.ID != q.ID && q.Protocol == protocol && q.Streams == p.Streams && q.Direction == p.Direction
}

// load turns a measured path into what its client is to do, and who serves it.
func (w world) load(p Path) (l agent.Load, from, to station, err error) {
	server := p.To
	if p.To.Kind != AtNode {
		server = atPod(w.cast.Echo[0])
	}
	if from, err = w.station(p.From); err != nil {
		return
	}
	if to, err = w.station(server); err != nil {
		return
	}
	target, ip, err := w.address(p.To, p.Protocol)
	if err != nil {
		return
	}
	l = agent.Load{Kind: p.Protocol, Target: joinPort(ip, agent.PortLoad), Streams: p.Streams, Reverse: p.Direction == Reverse,
		Seconds: max(int(w.plan.Verify.Throughput.Duration.Seconds()), 1)}
	switch p.To.Kind {
	case AtNodePort:
		// TCP and UDP of one port get one NodePort, which iperf3 depends on: its client
		// opens both at the same number.
		nodePort := w.services[p.To.Name].NodePorts[agent.PortLoad]
		if nodePort == 0 {
			err = absent{fmt.Errorf("Service %s has no NodePort for measurements", p.To.Name)}
			return
		}
		l.Target = joinPort(ip, int(nodePort))
	case AtIngress:
		l.Host, l.Target = ingressHosts()[0], "http://"+target+loadPath
	}
	if p.isLatency() {
		l.Kind, l.Connect = agent.LoadRequests, p.Connect
	}
	return
}

// servant is the kind of server that a path's client needs.
func (p Path) servant() string {
	if p.isLatency() && p.Protocol != agent.LoadHTTP {
		return agent.LoadRequests
	}
	return p.Protocol
}

func (w world) measureCommand(p Path) string {
	flag := "--throughput="
	if p.isLatency() {
		flag = "--latency="
	}
	return quoted([]string{"netlab", "verify", w.plan.Lab.String(), flag + p.route()})
}
