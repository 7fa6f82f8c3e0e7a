package observetest

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/components/cloud/balancer"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/frr"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/workload"
)

// Network answers probes as the lab of a snapshot would. upset overrides answers; it returns
// nil for probes that it does not override.
type Network struct {
	W     observe.Snapshot
	Upset func(from string, p agent.Probe, r *agent.Result) *agent.Result
}

// Reply is one answered repetition, as that of an agent.
func Reply(name, node, source string) agent.Answer {
	return agent.Answer{Outcome: agent.Reply, RTTMicros: 300, Status: 200, Seen: &agent.Seen{Name: name, Node: node, Remote: source}}
}

func Silence(outcome, text string) agent.Result {
	return agent.Result{Outcome: outcome, Error: text, Answers: []agent.Answer{{Outcome: outcome, Error: text}}}
}

func AnswersOf(answers ...agent.Answer) agent.Result {
	return agent.Result{Outcome: agent.Reply, Answers: answers, ElapsedMicros: 400}
}

func (n Network) Ask(s observe.Station, probes []agent.Probe) []agent.Result {
	from := s.Machine
	if _, name, ok := strings.Cut(s.Pod, "/"); ok {
		from = name
	}
	var out []agent.Result
	for _, p := range probes {
		r := n.answer(from, s, p)
		if n.Upset != nil {
			if other := n.Upset(from, p, &r); other != nil {
				r = *other
			}
		}
		out = append(out, r)
	}
	return out
}

func (n Network) answer(from string, s observe.Station, p agent.Probe) agent.Result {
	switch p.Kind {
	case agent.Bind:
		return Silence(agent.Refused, "address already in use")
	case agent.MTU:
		return AnswersOf(agent.Answer{Outcome: agent.Reply, Payload: p.Hint})
	case agent.ARP:
		m, _ := n.W.Plan.Machine(n.W.Pods.Echo[0].Node)
		if holder, shared := n.holder(p.Target); shared {
			m = holder
		}
		if host, external := n.W.Plan.External(); external {
			m = host
		}
		return AnswersOf(agent.Answer{Outcome: agent.Reply, MACs: []string{m.NICs[0].MAC}})
	case agent.BGP:
		return n.session(from, p.Target)
	case agent.Route:
		return n.hops(from, p.Target)
	case agent.Balancer:
		return n.balancer(p.Target)
	case agent.DNS:
		return AnswersOf(agent.Answer{Outcome: agent.Reply, RTTMicros: 500, DNS: n.resolve(p.Target)})
	}
	u := &url.URL{Host: p.Target}
	if p.Kind != agent.UDP {
		var err error
		if u, err = url.Parse(p.Target); err != nil {
			panic(err)
		}
	}
	host, portText, err := net.SplitHostPort(u.Host)
	if err != nil {
		host, portText = u.Host, "80"
	}
	port, _ := strconv.Atoi(portText)
	outside := s.Pod == ""
	source := n.W.PodIPs[from]
	if outside {
		m, _ := n.W.Plan.Machine(from)
		source = m.Address().String()
		if target, err := netip.ParseAddr(host); err == nil {
			source = n.W.SourceIP(m.Name, target)
		}
	}
	node := n.W.NodeOfPod(from)
	pods := func(names []string) agent.Result {
		if len(names) == 0 {
			return Silence(agent.Refused, "connection refused")
		}
		var answers []agent.Answer
		for i := range max(p.Count, 1) {
			name := names[i%len(names)]
			a := Reply(name, n.W.NodeOfPod(name), source)
			if p.Kind == agent.UDP {
				a.Status, a.Seen.Bytes = 0, max(p.Size, 13)
			}
			answers = append(answers, a)
		}
		return AnswersOf(answers...)
	}
	for name, ip := range n.W.PodIPs {
		if pod, _ := n.W.Pods.Pod(name); ip == host && port == agent.PortHTTP && !pod.HostNetwork {
			if outside && !n.W.Support.RoutesPodCIDR {
				return Silence(agent.Unreachable, "network is unreachable")
			}
			return pods([]string{name})
		}
	}
	for _, m := range n.W.Plan.Machines {
		at, err := netip.ParseAddr(host)
		if err != nil || !slices.Contains(m.Addresses(), at) {
			continue
		}
		if port == agent.HostNetworkHTTP && m.Kind == topology.KindNode {
			return pods([]string{workload.NodeAgent(m.Name)})
		}
		if port == agent.PortHTTP && m.Kind != topology.KindNode {
			client, _ := n.W.Plan.Machine(node)
			return AnswersOf(Reply(m.Name, "", n.W.SourceIP(client.Name, at)))
		}
		if visitor := n.W.Pods.Visitor; m.Name == visitor.Node && port == visitor.HostPort {
			return pods([]string{visitor.Name})
		}
		for name, x := range n.W.Services {
			if x.NodePorts[80] == int32(port) {
				if name == workload.ServiceAffinity {
					return pods(x.Ready[:1])
				}
				if name != workload.ServiceNodePortLocal {
					return pods(x.Ready)
				}
				if slices.ContainsFunc(x.Ready, func(pod string) bool { return n.W.NodeOfPod(pod) == m.Name }) {
					return pods(x.Ready)
				}
				return Silence(agent.Timeout, "i/o timeout")
			}
		}
		if port == 31080 || port == 31443 {
			return n.ingress(p, u)
		}
	}
	if host == n.W.Services[workload.ServiceAPI].ClusterIP && !outside {
		_, leaf := certificates()
		return AnswersOf(agent.Answer{Outcome: agent.Reply, Status: 200, Certificate: &agent.Certificate{DER: leaf}})
	}
	vip, _ := netip.ParseAddr(host)
	if host, external := n.W.Plan.External(); external && n.W.Plan.LoadBalancer.Contains(vip) {
		source = n.W.SourceIP(host.Name, n.W.Plan.Nodes()[0].Address()) // it is the Nodes' client
	}
	for name, x := range n.W.Services {
		switch host {
		case x.ClusterIP:
			if outside {
				return Silence(agent.Timeout, "i/o timeout")
			}
			if name == workload.ServiceAffinity {
				return pods(x.Ready[:1])
			}
			return pods(x.Ready)
		case x.VIP:
			return pods(x.Ready)
		}
	}
	domain := "." + workload.Namespace + ".svc.cluster.local"
	switch host {
	case n.W.Ingress.VIP:
		return n.ingress(p, u)
	case "127.0.0.1":
		source = "127.0.0.1"
		return pods([]string{from})
	case workload.ServiceHeadless + domain:
		return pods(n.W.Services[workload.ServiceHeadless].Ready[:1])
	case workload.ServiceExternal + domain:
		client, _ := n.W.Plan.Machine(node)
		target, _ := n.W.Plan.Machine(workload.OutsideHost(n.W.Plan))
		return AnswersOf(Reply(target.Name, "", n.W.SourceIP(client.Name, target.Address())))
	}
	holder, shared := n.holder(host)
	for _, m := range n.W.Plan.WithRole(topology.RoleLoadBalancer) {
		if m.Address().String() == host || shared && m.Name == holder.Name {
			r := n.ingress(p, u)
			for _, a := range r.Answers {
				if a.Seen != nil {
					a.Seen.ForwardedFor = n.client(from, m.Address().String())
				}
			}
			return r
		}
	}
	panic("nothing listens at " + p.Target)
}

// balancer is what the load balancer outside the cluster says of a VIP under which all is well.
func (n Network) balancer(vip string) agent.Result {
	state := balancer.State{}
	b := balancer.Balancer{VIP: netip.MustParseAddr(vip), Listeners: []balancer.Listener{{Protocol: balancer.TCP, Port: 80}}}
	for _, m := range n.W.Plan.Nodes() {
		local := n.W.Services[workload.ServiceLBLocal]
		healthy := slices.Contains(n.W.Behind, m.Name) && (local.VIP != vip || slices.Contains(local.Nodes, m.Name))
		state.Health = append(state.Health, balancer.Health{Node: balancer.Node{Name: m.Name, Address: m.Address()}, Healthy: healthy})
	}
	state.Balancers = append(state.Balancers, b)
	return AnswersOf(agent.Answer{Outcome: agent.Reply, Balancer: &state})
}

// holder is the host that holds a VIP which hosts share; false for another address.
func (n Network) holder(vip string) (topology.Machine, bool) {
	for _, s := range n.W.Plan.Shared() {
		if s.VIP.String() == vip {
			return n.W.Plan.Machine(s.Holder(n.W.Off))
		}
	}
	return topology.Machine{}, false
}

// client is whom the Ingress controller tells its backends of, behind a load balancer.
func (n Network) client(from, balancer string) string {
	if n.W.Plan.Ingress.ProxyProtocol {
		return n.W.MachineIP(from)
	}
	return balancer
}

func (n Network) ingress(p agent.Probe, u *url.URL) agent.Result {
	for _, r := range workload.IngressRoutes() {
		if r.Host == p.Host && r.Path == u.Path {
			if len(n.W.Services[r.Service].Ready) == 0 {
				return AnswersOf(agent.Answer{Outcome: agent.Reply, Status: 503})
			}
			a := Reply(n.W.Services[r.Service].Ready[0], "", "10.244.1.9")
			a.Certificate = &agent.Certificate{SHA256: testLeaf, DNSNames: workload.IngressHosts()}
			return AnswersOf(a)
		}
	}
	return AnswersOf(agent.Answer{Outcome: agent.Reply, Status: 404})
}

func (n Network) resolve(name string) *agent.DNSAnswer {
	domain := "." + workload.Namespace + ".svc.cluster.local."
	out := &agent.DNSAnswer{Name: name, Server: "10.96.0.10:53", Code: "NOERROR"}
	record := func(kind, value string) {
		out.Records = append(out.Records, agent.Record{Name: name, Type: kind, Value: value})
	}
	switch name {
	case workload.ServiceEcho:
		out.Name = workload.ServiceEcho + domain
		record("A", n.W.Services[workload.ServiceEcho].ClusterIP)
	case workload.ServiceHeadless + domain:
		for _, pod := range n.W.Services[workload.ServiceHeadless].Ready {
			record("A", n.W.PodIPs[pod])
		}
	case workload.ServiceExternal + domain:
		record("CNAME", workload.OutsideName(n.W.Plan)+".")
		record("A", n.W.Plan.Records()[workload.OutsideName(n.W.Plan)])
	case workload.OutsideName(n.W.Plan) + ".":
		record("A", n.W.Plan.Records()[workload.OutsideName(n.W.Plan)])
	default:
		out.Code = "NXDOMAIN"
	}
	return out
}

// session is what a router says of a session that is as the plan has it.
func (n Network) session(router, peer string) agent.Result {
	m, _ := n.W.Plan.Machine(router)
	for _, s := range m.Routing.Sessions {
		if s.Remote.String() != peer {
			continue
		}
		is := &agent.Session{Session: frr.Session{Peer: s.Remote, ASN: s.ASN, State: frr.Established}, Prefixes: n.W.Plan.Routes(n.W.Announced).Received(router, s)}
		if s.BFD {
			is.BFD = &frr.BFD{Status: frr.Up}
		}
		return AnswersOf(agent.Answer{Outcome: agent.Reply, Session: is})
	}
	return Silence(agent.Unreachable, "no BGP session with "+peer)
}

// communities are those of every VIP.
func (n Network) communities() string {
	if n.W.Plan.LoadBalancer.BGP == nil {
		return ""
	}
	return strings.Join(n.W.Plan.LoadBalancer.BGP.Communities, " ")
}

// hops are the next hops that a router has learned.
func (n Network) hops(router, to string) agent.Result {
	for _, l := range n.W.Plan.Routes(n.W.Announced).Learned(router) {
		if l.To.String() == to {
			return AnswersOf(agent.Answer{Outcome: agent.Reply, Hops: &agent.Hops{Kernel: l.Via, BGP: l.Via, Communities: slices.Repeat([]string{n.communities()}, len(l.Via))}})
		}
	}
	return Silence(agent.Unreachable, "no route to "+to)
}
