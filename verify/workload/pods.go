package workload

import (
	"maps"
	"slices"

	"netlab.dev/netlab/topology"
)

// Namespaces of the agents. No policy ever selects a Pod of the second.
const (
	Namespace       = "netlab-verify"
	GuestsNamespace = "netlab-verify-guests"
)

// Labels of the agents.
const (
	LabelOwner   = "netlab.dev/verify" // on everything that verify creates
	labelRole    = "netlab.dev/role"
	labelBackend = "netlab.dev/backend" // a or b: the Ingress backend that an echo Pod serves
	labelSingle  = "netlab.dev/single"  // on the one echo Pod behind the Services that need exactly one
	LabelPolicy  = "netlab.dev/policy"  // the policy that selects the Pod
	LabelApp     = "app"                // frontend and nginx, as in the policies of the Kubernetes documentation
)

// Pod is one Pod with an agent.
type Pod struct {
	Name        string
	Namespace   string
	Node        string
	HostNetwork bool
	Second      bool // has a second container
	HostPort    int  // of its Node, where its HTTP port is served too; 0 for none
	Labels      map[string]string
}

// Subject is a Pod that a policy selects and that no other path depends on.
type Subject struct {
	Name     string            // of the Pod, and the value of its LabelPolicy
	Labels   map[string]string // in addition to those of every such Pod
	Isolated bool              // the policy denies its egress: it cannot be a client
}

// Pods is every agent Pod of a lab. Each Node has an echo Pod (server and client of the
// reachability paths), an agent in the Node's network namespace, and a second Pod, which is
// a policy's Pod where one is placed there. Policies select different Pods so that they can
// be tested in parallel; a Pod that a policy isolates for ingress still serves as a client.
type Pods struct {
	Echo    []Pod // in the order of WorkersFirst; one per Node, two where there is only one Node
	Nodes   []Pod // in the plan's order
	Policy  []Pod // in the order of the subjects
	Peers   []Pod // second Pods of Nodes that have no policy's Pod
	Visitor Pod   // in the guests' namespace, with two containers

	isolated map[string]bool // by name: cannot be a client
}

// PodsOf places the Pods of a plan, including those of some policies.
func PodsOf(plan topology.Plan, subjects []Subject) Pods {
	nodes := WorkersFirst(plan)
	c := Pods{isolated: map[string]bool{}}
	for i, n := range nodes {
		c.Echo = append(c.Echo, echoPod("echo-"+n.Name, n.Name, i))
	}
	if len(nodes) == 1 {
		c.Echo = append(c.Echo, echoPod("echo-"+nodes[0].Name+"-b", nodes[0].Name, 1))
	}
	for _, n := range plan.Nodes() {
		c.Nodes = append(c.Nodes, Pod{Name: NodeAgent(n.Name), Namespace: Namespace, Node: n.Name, HostNetwork: true,
			Labels: map[string]string{labelRole: "node"}})
	}
	covered := map[string]bool{}
	for i, x := range subjects {
		node := nodes[i%len(nodes)].Name
		labels := map[string]string{labelRole: "policy", LabelPolicy: x.Name}
		maps.Copy(labels, x.Labels)
		c.Policy = append(c.Policy, Pod{Name: x.Name, Namespace: Namespace, Node: node, Labels: labels})
		c.isolated[x.Name] = x.Isolated
		covered[node] = covered[node] || !x.Isolated
	}
	visitorNode := nodes[len(nodes)-1].Name
	c.Visitor = Pod{Name: "visitor", Namespace: GuestsNamespace, Node: visitorNode, Second: true, HostPort: visitorPort,
		Labels: map[string]string{labelRole: "visitor"}}
	for _, n := range plan.Nodes() {
		if !covered[n.Name] && n.Name != visitorNode {
			c.Peers = append(c.Peers, Pod{Name: "peer-" + n.Name, Namespace: Namespace, Node: n.Name,
				Labels: map[string]string{labelRole: "peer"}})
		}
	}
	return c
}

func echoPod(name, node string, index int) Pod {
	labels := map[string]string{labelRole: "echo", labelBackend: []string{"a", "b"}[index%2]}
	if index == 0 {
		labels[labelSingle] = "true"
		labels[LabelApp] = "frontend"
	}
	return Pod{Name: name, Namespace: Namespace, Node: node, Labels: labels}
}

// NodeAgent is the name of the agent Pod in a Node's network namespace.
func NodeAgent(node string) string { return "node-" + node }

// WorkersFirst returns the Nodes of a plan, control planes last; before all others those that
// can announce a VIP of the first pool, which under externalTrafficPolicy Local must have an
// endpoint.
func WorkersFirst(plan topology.Plan) []topology.Machine {
	nodes := plan.Nodes()
	rank := func(m topology.Machine) int {
		away := false
		if pools := plan.LoadBalancer.Pools; len(pools) > 0 {
			_, on := m.On(pools[0].Network)
			away = !on
		}
		return 2*boolInt(away) + boolInt(m.Role == topology.RoleControlPlane)
	}
	slices.SortStableFunc(nodes, func(a, b topology.Machine) int { return rank(a) - rank(b) })
	return nodes
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// All returns every Pod, in a fixed order.
func (c Pods) All() []Pod {
	return slices.Concat(c.Nodes, c.Echo, c.Policy, c.Peers, []Pod{c.Visitor})
}

func (c Pods) Pod(name string) (Pod, bool) {
	for _, p := range c.All() {
		if p.Name == name {
			return p, true
		}
	}
	return Pod{}, false
}

// EchoOn returns a Node's echo Pod.
func (c Pods) EchoOn(node string) Pod {
	return c.Echo[slices.IndexFunc(c.Echo, func(p Pod) bool { return p.Node == node })]
}

// SecondOn returns another Pod on the same Node that can be a client at any time.
func (c Pods) SecondOn(node string) Pod {
	for _, p := range slices.Concat(c.Policy, c.Peers, []Pod{c.Visitor}) {
		if p.Node == node && !c.isolated[p.Name] {
			return p
		}
	}
	return c.EchoOn(node)
}

// WithLabel returns the names of the Pods that a Service's selector of one label matches.
func (c Pods) WithLabel(label, value string) []string {
	var names []string
	for _, p := range c.All() {
		if p.Labels[label] == value {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Subject returns the Pod of a policy.
func (c Pods) Subject(name string) Pod {
	i := slices.IndexFunc(c.Policy, func(p Pod) bool { return p.Name == name })
	return c.Policy[i]
}
