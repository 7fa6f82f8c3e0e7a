package checks

import (
	"fmt"
	"slices"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// The routes that throughput and latency are measured over; their ids are the route with
// the prefix "throughput-" or "latency-".
const (
	RouteNodeToNode   = report.BareRoute // the baseline
	RoutePodSameNode  = "pod-same-node"
	RoutePodCrossNode = "pod-cross-node"
	RouteClusterIP    = "clusterip"
	RouteNodePort     = "nodeport"
	RouteLoadBalancer = "loadbalancer"
	RouteIngress      = "ingress"
)

// Measurement is a path that is measured over a route.
type Measurement struct {
	Measures string // report.Throughput or report.LatencyTimes
	Route    string
}

// route leads from a client to the server of the measurements, which is the same Pod for
// every route, so that two figures differ by the route alone.
type route struct {
	name, title string
	ends        func(Lab) (from, to observe.Ref)
	missing     func(Lab) string // why the lab does not have it; "" where it does
	http        bool             // only HTTP gets through, and only downloads are measured
	suspects    []Suspect
}

func routes() []route {
	server := func(l Lab) observe.Ref { return l.first() }
	other := func(l Lab) observe.Ref { return observe.AtPod(l.Pods.Echo[1]) }
	node := func(name string) observe.Ref {
		return observe.Ref{Kind: report.AtNode, Name: name, Node: name}
	}
	outside := func(l Lab) observe.Ref {
		if len(l.Clients) == 0 {
			return observe.Ref{Name: "outside client"}
		}
		return observe.AtHost(l.Clients[0])
	}
	always := func(Lab) string { return "" }
	nodes := func(l Lab) string {
		if server(l).Node == other(l).Node {
			return oneNode
		}
		return ""
	}
	client := func(l Lab) string {
		if len(l.Clients) == 0 {
			return noClient
		}
		return ""
	}
	return []route{
		{name: RouteNodeToNode, title: "Node → Node (the baseline)", missing: nodes, suspects: []Suspect{lostPackets},
			ends: func(l Lab) (from, to observe.Ref) { return node(other(l).Node), node(server(l).Node) }},
		{name: RoutePodSameNode, title: "Pod → Pod on the same Node", missing: always, suspects: []Suspect{lostPackets},
			ends: func(l Lab) (from, to observe.Ref) { return l.second(server(l).Node), server(l) }},
		{name: RoutePodCrossNode, title: "Pod → Pod on another Node", missing: nodes, suspects: []Suspect{lostPackets},
			ends: func(l Lab) (from, to observe.Ref) { return other(l), server(l) }},
		{name: RouteClusterIP, title: "Pod → ClusterIP", missing: always, suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfClient},
			ends: func(l Lab) (from, to observe.Ref) { return other(l), observe.AtService(workload.ServiceItself) }},
		{name: RouteNodePort, title: "outside host → NodePort", missing: client, suspects: []Suspect{serviceUnmet, lostPackets, kubeProxyOfTarget},
			ends: func(l Lab) (from, to observe.Ref) {
				return outside(l), observe.AtNodePort(workload.ServiceNodePortLocal, server(l).Node)
			}},
		{name: RouteLoadBalancer, title: "outside host → VIP", suspects: []Suspect{vipAnnouncer, serviceUnmet, lostPackets, kubeProxyOfClient},
			missing: func(l Lab) string { return noOutsideVIP(l, workload.ServiceLBLocal) },
			ends: func(l Lab) (from, to observe.Ref) {
				return outside(l), observe.Ref{Kind: report.AtVIP, Name: workload.ServiceLBLocal}
			}},
		{name: RouteIngress, title: "outside host → Ingress, downloads", http: true, suspects: []Suspect{ingressController, vipAnnouncer, lostPackets},
			missing: func(l Lab) string {
				if !workload.HasIngress(l.Plan) {
					return noIngress
				}
				if l.Plan.Ingress.ProxyProtocol {
					return onlyProxies
				}
				return client(l)
			},
			ends: func(l Lab) (from, to observe.Ref) {
				return outside(l), observe.Ref{Kind: report.AtIngress, Name: workload.IngressHosts()[0] + workload.LoadPath}
			}},
	}
}

// Routes are the names of the routes in the order in which they are measured.
func Routes() []string {
	var out []string
	for _, r := range routes() {
		out = append(out, r.name)
	}
	return out
}

// row is a measurement over a route, from the first client that the lab's networks lead there;
// a skip if the lab does not have it.
func (x route) row(l Lab, measures string) Row {
	first := x.between(l, measures)
	for _, c := range l.Clients {
		l.Clients = []topology.Machine{c}
		if r := x.between(l, measures); r.Skip == "" {
			return r
		}
	}
	return first
}

func (x route) between(l Lab, measures string) Row {
	from, to := x.ends(l)
	r := reach(from, to).over(agent.LoadTCP)
	if x.http {
		r.Protocol = agent.LoadHTTP
	}
	r.Measures, r.Route, r.Skip = measures, x.name, x.missing(l)
	if r.Skip == "" {
		r.Skip = l.separated(r)
	}
	return r
}

// check is the table's entry of a measurement over a route.
func (x route) check(measures, what string, rows func(Row, Lab) []Row) Check {
	return Check{
		ID: measures + "-" + x.name, Section: "Measurements", Title: what + ": " + x.title,
		Rows: func(l Lab) []Row {
			r := x.row(l, measures)
			if r.Skip != "" {
				return []Row{r}
			}
			return rows(r, l)
		},
		Asserts:     []Assertion{Figures{Of: measures}},
		Suspects:    x.suspects,
		Measurement: &Measurement{Measures: measures, Route: x.name},
	}
}

// throughput is measured over TCP and UDP, for each number of streams and both directions;
// through the ingress by downloads only.
func throughput() []Check {
	var out []Check
	for _, x := range routes() {
		out = append(out, x.check(report.Throughput, "iperf3", func(r Row, l Lab) []Row {
			protocols, directions := []string{agent.LoadTCP, agent.LoadUDP}, []string{report.Forward, report.Reverse}
			if x.http {
				protocols, directions = []string{agent.LoadHTTP}, []string{report.Reverse}
			}
			var rows []Row
			for _, r.Protocol = range protocols {
				for _, r.Streams = range l.Plan.Verify.Throughput.Streams {
					for _, r.Direction = range directions {
						rows = append(rows, r)
					}
				}
			}
			return rows
		}))
	}
	return out
}

// latency is measured over one connection and over a new connection per request.
func latency() []Check {
	var out []Check
	for _, x := range routes() {
		out = append(out, x.check(report.LatencyTimes, "requests", func(r Row, l Lab) []Row {
			each := r
			each.Connect = true
			return []Row{r, each}
		}))
	}
	return out
}

// Measurements derives the rows of the measurements over some routes. A route that the lab
// does not have is one skipped row.
func Measurements(plan topology.Plan, support components.Support, throughput, latency []string) []Row {
	lab := labOf(plan, support)
	var out []Row
	for _, c := range All() {
		m := c.Measurement
		if m == nil || !slices.Contains(map[string][]string{report.Throughput: throughput, report.LatencyTimes: latency}[m.Measures], m.Route) {
			continue
		}
		for _, r := range c.Rows(lab) {
			r.ID = c.ID
			out = append(out, r)
		}
	}
	return out
}

// IsLatency reports whether a row measures requests.
func (r Row) IsLatency() bool { return r.Measures == report.LatencyTimes }

// Way describes which of its route's measurements a row is.
func (r Row) Way() string {
	switch {
	case r.IsLatency() && r.Connect:
		return r.Route + ", one connection per request"
	case r.IsLatency():
		return r.Route + ", one connection"
	}
	return fmt.Sprintf("%s, %s ×%d %s", r.Route, r.Protocol, r.Streams, r.Direction)
}

// Baseline reports whether another row is the measurement between the Nodes themselves
// that this one is compared with. HTTP is compared with TCP.
func (r Row) Baseline(q Row) bool {
	protocol := r.Protocol
	if protocol == agent.LoadHTTP {
		protocol = agent.LoadTCP
	}
	return q.Measures == report.Throughput && q.Route == RouteNodeToNode && r.Route != q.Route && q.Protocol == protocol && q.Streams == r.Streams && q.Direction == r.Direction
}

// Figures asserts that the median is at least what the lab file demands. They are judged
// once all samples are there (see verify/run).
type Figures struct {
	alone
	Of string // report.Throughput or report.LatencyTimes
}

func (x Figures) String() string {
	if x.Of == report.LatencyTimes {
		return "every request is answered; p50, p90, p99 in µs, transactions/s"
	}
	return "the median is at least `verify.throughput.min`; bit/s, retransmits or loss, CPU seconds per gigabit, ratio to the baseline"
}

// Judge returns nothing: one answer is not a measurement.
func (Figures) Judge(observe.Snapshot, Row, Answers) []report.Property { return nil }
