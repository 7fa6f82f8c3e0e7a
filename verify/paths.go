package verify

import (
	"fmt"
	"math/big"
	"net/netip"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// The ids of the paths, as the report's JSON has them.
const (
	ContainerToContainer  = "container-to-container"
	PodToPodSameNode      = "pod-to-pod-same-node"
	PodToPodCrossNode     = "pod-to-pod-cross-node"
	NodeToPod             = "node-to-pod"
	PodToNode             = "pod-to-node"
	PodToClusterIP        = "pod-to-clusterip"
	PodToItself           = "pod-to-itself-via-service"
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
	PolicyDefaultDeny     = "policy-default-deny"
	PolicyAllowLabel      = "policy-allow-label"
	PolicyAllowNamespace  = "policy-allow-namespace"
	PolicyAllowPort       = "policy-allow-port"
	PolicyEgressDeny      = "policy-egress-deny"
	PolicyL7              = "policy-l7"
)

func policyIDs() []string {
	return []string{PolicyDefaultDeny, PolicyAllowLabel, PolicyAllowNamespace, PolicyAllowPort, PolicyEgressDeny}
}

// IDs gives the ids of the paths, in the report's order.
func IDs() []string {
	var ids []string
	for _, s := range Sections() {
		ids = append(ids, s.IDs...)
	}
	return ids
}

// The kinds of a Ref.
const (
	AtPod       = "pod"
	AtContainer = "container" // the second container of a Pod
	AtNode      = "node"
	AtHost      = "host"
	AtService   = "service"  // its ClusterIP
	AtNodePort  = "nodeport" // Name is the Service, Node the Node that is asked
	AtVIP       = "vip"
	AtIngress   = "ingress" // Name is host/path
	AtName      = "name"    // a DNS name
)

// Ref is one end of a path, by name: addresses are known only when the lab runs.
type Ref struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Node string `json:"node,omitempty"`
}

// Path is one row to prove.
type Path struct {
	ID       string `json:"id"`
	From     Ref    `json:"from"`
	To       Ref    `json:"to"`
	Protocol string `json:"protocol"`
	Expected string `json:"expected"`
	Skip     string `json:"skip,omitempty"` // why it cannot exist in this lab

	Streams   int    `json:"streams,omitempty"`   // throughput-*: at a time
	Direction string `json:"direction,omitempty"` // throughput-*
	Connect   bool   `json:"connect,omitempty"`   // latency-*: each request on a connection of its own
}

// Paths derives the rows of a plan: every id at least once, as a skip with its reason
// where the lab has nothing to prove it on. The order is fixed.
func Paths(plan topology.Plan, support components.Support) []Path {
	d := derivation{plan: plan, support: support, cast: castOf(plan), nodes: plan.Nodes(), clients: plan.WithRole(topology.RoleClient)}
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
	cast    cast
	nodes   []topology.Machine
	clients []topology.Machine
	paths   []Path
}

func (d *derivation) add(id string, from, to Ref, protocol, expected string) {
	d.paths = append(d.paths, Path{ID: id, From: from, To: to, Protocol: protocol, Expected: expected})
}

func (d *derivation) skip(id, from, to, protocol, expected, reason string) {
	d.paths = append(d.paths, Path{ID: id, From: Ref{Name: from}, To: Ref{Name: to}, Protocol: protocol, Expected: expected, Skip: reason})
}

func atPod(p agentPod) Ref                   { return Ref{Kind: AtPod, Name: p.Name, Node: p.Node} }
func atNode(m topology.Machine) Ref          { return Ref{Kind: AtNode, Name: m.Name, Node: m.Name} }
func atHost(m topology.Machine) Ref          { return Ref{Kind: AtHost, Name: m.Name} }
func atService(name string) Ref              { return Ref{Kind: AtService, Name: name} }
func atNodePort(service, node string) Ref    { return Ref{Kind: AtNodePort, Name: service, Node: node} }
func (d *derivation) echo(node string) Ref   { return atPod(d.cast.echoOn(node)) }
func (d *derivation) second(node string) Ref { return atPod(d.cast.secondOn(node)) }

func (d *derivation) pods() {
	visitor := d.cast.Visitor
	d.add(ContainerToContainer, atPod(visitor), Ref{Kind: AtContainer, Name: visitor.Name, Node: visitor.Node}, "http", Reachable)
	for _, n := range d.nodes {
		d.add(PodToPodSameNode, d.second(n.Name), d.echo(n.Name), "http", Reachable)
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
			d.add(PodToPodCrossNode, d.echo(from.Name), d.echo(to.Name), "http", Reachable)
		}
	})
	if len(d.nodes) < 2 {
		d.skip(PodToPodCrossNode, "Pod", "Pod on another Node", "http", Reachable, "the lab has one Node")
	}
	pairs(func(from, to topology.Machine) { d.add(NodeToPod, atNode(from), d.echo(to.Name), "http", Reachable) })
	pairs(func(from, to topology.Machine) { d.add(PodToNode, d.echo(from.Name), atNode(to), "http", Reachable) })
}

func (d *derivation) services() {
	for _, n := range d.nodes {
		d.add(PodToClusterIP, d.echo(n.Name), atService(ServiceEcho), "http", Reachable)
	}
	d.add(PodToItself, atPod(d.cast.Echo[0]), atService(ServiceItself), "http", Reachable)
	d.add(PodToHeadless, atPod(d.cast.Echo[0]), Ref{Kind: AtName, Name: ServiceHeadless}, "http", Reachable)
}

func (d *derivation) names() {
	for _, n := range d.nodes {
		d.add(DNSService, d.echo(n.Name), Ref{Kind: AtName, Name: ServiceEcho}, "dns", Reachable)
	}
	name := outsideName(d.plan)
	if name == "" {
		d.skip(DNSExternal, "Pod", "outside name", "dns", Reachable, noInternet)
		return
	}
	for _, n := range d.nodes {
		d.add(DNSExternal, d.echo(n.Name), Ref{Kind: AtName, Name: name}, "dns", Reachable)
	}
}

const (
	noInternet = "the lab has no internet host"
	noClient   = "the lab has no outside client"
)

// outsideName is the DNS name of the internet host, without its final dot; "" where
// there is none.
func outsideName(plan topology.Plan) string {
	for _, m := range plan.WithRole(topology.RoleInternet) {
		return m.Name + ".outside.test"
	}
	return ""
}

func (d *derivation) nodePorts() {
	first, last := d.cast.Echo[0], d.cast.Echo[len(d.cast.Echo)-1]
	for _, n := range d.nodes {
		d.add(PodToNodePort, atPod(first), atNodePort(ServiceNodePort, n.Name), "http", Reachable)
	}
	// A Pod that asks a Node without an endpoint is left out: kube-proxy treats Pods as
	// local, but only where their address is not rewritten on the way, which differs by CNI.
	d.add(PodToNodePort, atPod(last), atNodePort(ServiceNodePortLocal, first.Node), "http", Reachable)
	if len(d.clients) == 0 {
		d.skip(OutsideToNodePort, "outside client", "Node:port", "http", Reachable, noClient)
	}
	for _, c := range d.clients {
		for _, n := range d.nodes {
			d.add(OutsideToNodePort, atHost(c), atNodePort(ServiceNodePort, n.Name), "http", Reachable)
		}
		for _, n := range d.nodes {
			expected := Unreachable
			if n.Name == first.Node {
				expected = Reachable
			}
			d.add(OutsideToNodePort, atHost(c), atNodePort(ServiceNodePortLocal, n.Name), "http", expected)
		}
	}
}

func (d *derivation) loadBalancer() {
	skip := func(service, reason string) {
		d.skip(OutsideToLoadBalancer, "outside client", service, "http", Reachable, reason)
	}
	for _, service := range []string{ServiceLB, ServiceLBLocal} {
		switch {
		case !hasLoadBalancer(d.plan):
			skip(service, "the lab has no load balancer")
		case len(d.clients) == 0:
			skip(service, noClient)
		case !vipFor(d.plan, service):
			skip(service, fmt.Sprintf("the lab's pools have too few addresses (%d)", poolSize(d.plan)))
		}
		if !hasLoadBalancer(d.plan) || !vipFor(d.plan, service) {
			continue
		}
		for _, c := range d.clients {
			d.add(OutsideToLoadBalancer, atHost(c), Ref{Kind: AtVIP, Name: service}, "http", Reachable)
		}
	}
}

func hasLoadBalancer(plan topology.Plan) bool {
	return plan.LoadBalancer.Name != "" && plan.LoadBalancer.Name != "none"
}

func hasIngress(plan topology.Plan) bool {
	return plan.Ingress.Name != "" && plan.Ingress.Name != "none"
}

// vipFor reports whether the pools have an address for a Service, after those that come
// before it: the Ingress controller's, then echo-lb's.
func vipFor(plan topology.Plan, service string) bool {
	need := 1
	if hasIngress(plan) && plan.Ingress.Service == "LoadBalancer" {
		need++
	}
	if service == ServiceLBLocal {
		need++
	}
	return poolSize(plan) >= need
}

// poolSize counts the addresses of the pools, up to a number that is always enough.
func poolSize(plan topology.Plan) int {
	const enough = 1 << 16
	size := 0
	for _, p := range plan.LoadBalancer.Pools {
		first, last := number(p.First), number(p.Last)
		n := new(big.Int).Sub(last, first)
		if !n.IsInt64() || n.Int64() >= enough {
			return enough
		}
		size += int(n.Int64()) + 1
	}
	return size
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }

func (d *derivation) ingress() {
	for _, row := range []struct{ id, protocol string }{{OutsideToIngressHTTP, "http"}, {OutsideToIngressHTTPS, "https"}} {
		switch {
		case !hasIngress(d.plan):
			d.skip(row.id, "outside client", "Ingress", row.protocol, Reachable, "the lab has no ingress controller")
			continue
		case len(d.clients) == 0:
			d.skip(row.id, "outside client", "Ingress", row.protocol, Reachable, noClient)
			continue
		}
		for _, c := range d.clients {
			for _, r := range ingressRoutes() {
				d.add(row.id, atHost(c), Ref{Kind: AtIngress, Name: r.Host + r.Path}, row.protocol, Reachable)
			}
			d.add(row.id, atHost(c), Ref{Kind: AtIngress, Name: unknownHost + "/"}, row.protocol, Reachable)
		}
	}
}

func (d *derivation) outside() {
	first := d.cast.Echo[0]
	if outsideName(d.plan) == "" {
		d.skip(PodToExternalName, "Pod", ServiceExternal, "http", Reachable, noInternet)
	} else {
		d.add(PodToExternalName, atPod(first), Ref{Kind: AtName, Name: ServiceExternal}, "http", Reachable)
	}
	if target, ok := outsideTarget(d.plan); !ok {
		d.skip(PodToOutside, "Pod", "outside host", "http", Reachable, "the lab has no host outside the cluster")
	} else {
		for _, n := range d.nodes {
			d.add(PodToOutside, d.echo(n.Name), atHost(target), "http", Reachable)
		}
	}
	toPod := Unreachable
	if d.support.RoutesPodCIDR {
		toPod = Reachable
	}
	if len(d.clients) == 0 {
		d.skip(OutsideToClusterIP, "outside client", ServiceEcho, "http", Unreachable, noClient)
		d.skip(OutsideToPod, "outside client", "Pod", "http", toPod, noClient)
	}
	for _, c := range d.clients {
		d.add(OutsideToClusterIP, atHost(c), atService(ServiceEcho), "http", Unreachable)
	}
	for _, c := range d.clients {
		for _, n := range d.nodes {
			d.add(OutsideToPod, atHost(c), d.echo(n.Name), "http", toPod)
		}
	}
}

// outsideTarget is the host that Pods reach out to: the internet, else the first client.
func outsideTarget(plan topology.Plan) (topology.Machine, bool) {
	for _, role := range []string{topology.RoleInternet, topology.RoleClient} {
		for _, m := range plan.WithRole(role) {
			return m, true
		}
	}
	return topology.Machine{}, false
}

func (d *derivation) policies() {
	expected := Enforced
	if !d.support.NetworkPolicy {
		expected = NotEnforced
	}
	for _, id := range policyIDs() {
		p := policyOf(id, d.cast)
		d.add(id, p.Denied.From, p.Denied.To, p.Denied.Kind, expected)
	}
	if !d.support.L7Policy {
		d.skip(PolicyL7, "Pod", "Pod", agent.HTTP, Enforced, or(d.support.L7Reason, "the CNI has no L7 policy"))
		return
	}
	denied := l7PlayOf(d.cast).Denied[0]
	d.add(PolicyL7, denied.From, denied.To, denied.Kind, Enforced)
}
