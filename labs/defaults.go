package labs

import (
	"net/netip"
	"slices"
	"time"
)

// Default returns the lab of a file with nothing but a name.
func Default(name Name, known Known) Lab {
	lab := Lab{APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: name}, Sections: known.sections()}
	lab.fill(known)
	return lab
}

// fill sets the fields that the file leaves out. There are no other levels of defaults.
// Invalid fields are kept, for validate to report.
func (l *Lab) fill(known Known) {
	l.Services = known.Services
	setIfZero(&l.Provider, first(known.Providers))
	for _, s := range l.Sections {
		s.Fill()
	}

	k := &l.Kubernetes
	setIfZero(&k.Version, first(known.Kubernetes).Version)
	setIfZero(&k.PodCIDR, netip.MustParsePrefix("10.244.0.0/16"))
	setIfZero(&k.ServiceCIDR, netip.MustParsePrefix("10.96.0.0/16"))
	setIfZero(&k.Proxy, first(known.Kubernetes.Of(k.Version).Modes))

	if l.Networks == nil {
		l.Networks = []Network{
			{Name: "lan", CIDR: netip.MustParsePrefix("172.30.0.0/24")},
			{Name: "wan", CIDR: netip.MustParsePrefix("203.0.113.0/24")},
		}
	}
	var networks []string
	for i := range l.Networks {
		setIfZero(&l.Networks[i].MTU, 1500)
		networks = append(networks, l.Networks[i].Name)
	}
	if l.Nodes == nil {
		l.Nodes = []NodeGroup{
			{Name: "cp", Role: RoleControlPlane},
			{Name: "w", Role: RoleWorker, Count: 2},
		}
	}
	for i := range l.Nodes {
		setIfNil(&l.Nodes[i].Networks, upTo(networks, 0, 1))
	}
	if l.Hosts == nil {
		l.Hosts = []Host{{Name: "client", Role: RoleClient}}
		if len(networks) > 1 {
			l.Hosts = []Host{
				{Name: "router", Role: RoleRouter},
				{Name: "client", Role: RoleClient},
				{Name: "internet", Role: RoleInternet},
			}
		}
	}
	l.balance()
	l.addCloud(known)
	for i := range l.Hosts {
		h := &l.Hosts[i]
		switch h.Role {
		case RoleRouter:
			setIfNil(&h.Networks, upTo(networks, 0, 2))
		case RoleInternet, RoleCloud:
			setIfNil(&h.Networks, upTo(networks, 1, 2))
		case RoleAPILB:
			setIfNil(&h.Networks, upTo(first(l.Nodes).Networks, 0, 1))
		default:
			setIfNil(&h.Networks, upTo(networks, 0, 1))
		}
	}
	l.fillComponents(known)
	l.fillBGP()
	l.fillRouting()

	for i := range l.Manifests {
		setIfZero(&l.Manifests[i].Namespace, "default")
	}
	for i := range l.Verify.Paths {
		l.Verify.Paths[i].Fill()
	}
	t := &l.Verify.Throughput
	setIfZero(&t.Duration, Duration{time.Second})
	setIfNil(&t.Streams, []int{1, 4})
	setIfZero(&t.Repeats, 6)
}

// balancer is the name of the load balancer that a lab with several control planes gets
// where its file has none.
const balancer = "lb"

// balance adds a load balancer in front of several control planes, unless the file has one
// or another machine with its name.
func (l *Lab) balance() {
	has := func(m Member) bool { return m.Role == RoleAPILB || m.Name == balancer }
	if l.controlPlanes() > 1 && !slices.ContainsFunc(l.Members(), has) {
		l.Hosts = append(l.Hosts, Host{Name: balancer, Role: RoleAPILB})
	}
}

// addCloud adds the host of a load balancer that runs on one, unless the file has it or another machine
// with its name, which is that of its role.
func (l *Lab) addCloud(known Known) {
	role := l.loadBalancerChoice(known).Host
	has := func(m Member) bool { return m.Role == role || m.Name == role }
	if role != "" && !slices.ContainsFunc(l.Members(), has) {
		l.Hosts = append(l.Hosts, Host{Name: role, Role: role})
	}
}

// loadBalancerChoice is the load balancer that the lab selects; the zero value for none.
func (l *Lab) loadBalancerChoice(known Known) Choice {
	name := l.LoadBalancer.Name
	setIfZero(&name, preferred(known.LoadBalancers))
	return known.LoadBalancers[name].Of(l.LoadBalancer.Version)
}

// controlPlanes counts the control planes.
func (l *Lab) controlPlanes() int {
	count := 0
	for _, g := range l.Nodes {
		if g.Role == RoleControlPlane {
			count += max(g.Count, 1)
		}
	}
	return count
}

func (l *Lab) fillComponents(known Known) {
	setIfZero(&l.CNI.Name, preferred(known.CNIs))
	cnis := known.CNIs[l.CNI.Name]
	setIfZero(&l.CNI.Version, first(cnis).Version)
	for option, values := range cnis.Of(l.CNI.Version).Options {
		if _, set := l.CNI.Options[option]; set || len(values) == 0 {
			continue
		}
		if l.CNI.Options == nil {
			l.CNI.Options = map[string]string{}
		}
		l.CNI.Options[option] = values[0]
	}
	if len(l.CNI.Options) == 0 {
		l.CNI.Options = nil // so that {} equals an omitted field
	}

	lb := &l.LoadBalancer
	setIfZero(&lb.Name, preferred(known.LoadBalancers))
	balancers := known.LoadBalancers[lb.Name]
	if lb.Name != None {
		setIfZero(&lb.Version, balancers.with(lb.Mode).Version)
		setIfZero(&lb.Mode, first(balancers.Of(lb.Version).Modes))
	}

	in := &l.Ingress
	setIfZero(&in.Name, preferred(known.Ingresses))
	if in.Name == None {
		return
	}
	ingresses := known.Ingresses[in.Name]
	setIfZero(&in.Version, first(ingresses).Version)
	modes := ingresses.Of(in.Version).Modes
	if lb.Name == None && slices.Contains(modes, "NodePort") {
		setIfZero(&in.Service, "NodePort") // nothing assigns a VIP to a LoadBalancer
	}
	setIfZero(&in.Service, first(modes))
	if in.NodePorts == nil && l.has(RoleLoadBalancer) {
		in.NodePorts = &NodePorts{}
	}
	if in.NodePorts != nil {
		setIfZero(&in.NodePorts.HTTP, httpNodePort)
		setIfZero(&in.NodePorts.HTTPS, httpsNodePort)
	}
}

// The default NodePorts of the Ingress controller where they must be known.
const (
	httpNodePort  = 30080
	httpsNodePort = 30443
)

// has reports whether a host of the lab has a role.
func (l Lab) has(role string) bool {
	return slices.ContainsFunc(l.Hosts, func(h Host) bool { return h.Role == role })
}

func first[T any](values []T) (value T) {
	if len(values) > 0 {
		value = values[0]
	}
	return value
}

// upTo returns values[from:to] of a list that may be shorter; at least one value where the
// list is not empty.
func upTo(values []string, from, to int) []string {
	to = min(to, len(values))
	from = max(0, min(from, to-1))
	return slices.Clone(values[from:to])
}

func setIfZero[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setIfNil[T any](field *[]T, value []T) {
	if *field == nil {
		*field = value
	}
}
