// Package observe reads the cluster that is verified. Follow watches it, Await waits until
// it has what the paths require, and New returns a Snapshot: the address of each name and
// the Pods behind each Service. A Snapshot does not change, and judges nothing.
package observe

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// OutsideTarget is the outside host that Pods of a Node connect to: the internet host, else the
// first client, of those that the Node reaches if it reaches any.
func OutsideTarget(plan topology.Plan, node string) (topology.Machine, bool) {
	hosts := slices.Concat(plan.WithRole(topology.RoleInternet), plan.WithRole(topology.RoleClient))
	for _, m := range hosts {
		if _, way := topology.Nearest(plan, node, m.Addresses()); way.Reachable() {
			return m, true
		}
	}
	if len(hosts) > 0 {
		return hosts[0], true
	}
	return topology.Machine{}, false
}

// Snapshot resolves the paths' names while the lab runs: addresses, ports, and the endpoints
// of Services. It is read once, after waiting, and does not change.
type Snapshot struct {
	Plan      topology.Plan
	Support   components.Support
	Pods      workload.Pods
	PodIPs    map[string]string
	Services  map[string]Service
	Ingress   Service
	PodCIDRs  map[string]netip.Prefix // by Node
	Own       map[string][]netip.Addr // by Node, the addresses of its interfaces, as far as its agent was asked
	Foreign   map[string]bool         // addresses of all Pods that have their own, of any namespace
	Leaf      string                  // fingerprint of the Ingress's certificate
	CA        []byte                  // the cluster's, in PEM
	Unmet     map[string]string       // What → Why
	Off       []string                // machines that are off
	LinksDown map[string][]string     // NICs whose link is down at the switch, by machine
	Impaired  topology.Impaired       // links that are impaired
	Away      map[string]string       // of machines that are off, Nodes that are not registered or not Ready: that they are
	Cordoned  []string                // Nodes
	Announced topology.Announced      // the VIPs that Nodes should announce to routers
	Strange   []netip.Prefix          // VIPs of no pool of the lab, which Nodes may announce
	Behind    []string                // Nodes that a load balancer outside the cluster may forward to

	Ends      map[Ref]End       // of the paths of the user's
	Unvisited map[string]string // why no agent runs in the network namespace of a Pod of theirs, by its Title
}

// Service is a Service as it is in the cluster.
type Service struct {
	ClusterIP string
	VIP       string
	Proxied   bool            // the load balancer asks to be passed even from inside the cluster (ipMode: Proxy)
	NodePorts map[int32]int32 // port → NodePort: the API server gives UDP and TCP of one port the same
	Ready     []string        // Pods behind it; addresses of what is not a Pod
	Nodes     []string        // that they run on
}

func New(plan topology.Plan, support components.Support, pods workload.Pods, s State, missing []Unmet, certificate []byte) Snapshot {
	w := Snapshot{Plan: plan, Support: support, Pods: pods,
		PodIPs: map[string]string{}, Services: map[string]Service{}, PodCIDRs: map[string]netip.Prefix{},
		Foreign: map[string]bool{}, Unmet: map[string]string{}, Off: s.Off, Away: s.AwayOf(plan), Announced: s.announced(plan, support), Strange: s.strange(plan), Behind: s.balanced(plan, support)}
	for _, l := range missing {
		w.Unmet[l.What] = l.Why
	}
	for _, p := range w.Pods.All() {
		if pod := s.Pod(p.Namespace, p.Name); pod != nil && PodReady(pod) {
			w.PodIPs[p.Name] = pod.Status.PodIP
		}
	}
	for _, p := range s.Pods {
		if !p.Spec.HostNetwork && p.Status.PodIP != "" {
			w.Foreign[p.Status.PodIP] = true
		}
	}
	for _, x := range s.Services {
		if x.Namespace == workload.Namespace {
			w.Services[x.Name] = serviceOf(x, s)
		}
		if x.Namespace == metav1.NamespaceDefault && x.Name == workload.ServiceAPI {
			api := serviceOf(x, s)
			for _, n := range plan.Nodes() {
				if slices.Contains(api.Ready, n.Address().String()) {
					api.Nodes = append(api.Nodes, n.Name)
				}
			}
			w.Services[x.Name] = api
		}
	}
	if x := s.ingressService(); x != nil {
		w.Ingress = serviceOf(x, s)
	}
	for _, n := range s.Nodes {
		if n.Spec.Unschedulable {
			w.Cordoned = append(w.Cordoned, n.Name)
		}
		if cidr, err := netip.ParsePrefix(n.Spec.PodCIDR); err == nil {
			w.PodCIDRs[n.Name] = cidr
		}
	}
	if block, _ := pem.Decode(certificate); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			w.Leaf = agent.Fingerprint(cert.Raw)
		}
	}
	return w
}

func serviceOf(x *corev1.Service, s State) Service {
	out := Service{ClusterIP: x.Spec.ClusterIP, VIP: VIPOf(x), NodePorts: map[int32]int32{}, Ready: s.Ready(x.Namespace, x.Name)}
	out.Proxied = slices.ContainsFunc(x.Status.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool {
		return i.IP == out.VIP && i.IPMode != nil && *i.IPMode == corev1.LoadBalancerIPModeProxy
	})
	for _, p := range x.Spec.Ports {
		out.NodePorts[p.Port] = p.NodePort
	}
	for _, name := range out.Ready {
		if pod := s.Pod(x.Namespace, name); pod != nil && !slices.Contains(out.Nodes, pod.Spec.NodeName) {
			out.Nodes = append(out.Nodes, pod.Spec.NodeName)
		}
	}
	return out
}

// Station is an agent that can be reached: where its socket is, and the identity that it
// must report.
type Station struct {
	Machine string
	Socket  string
	Pod     string // "" for an outside host
	IP      string // "" where it reports none
}

func (s Station) Who() string { return cmp.Or(s.Pod, s.Machine) }

// hostSocket is the control socket of an outside host's agent, in the host's file system, as
// the component agent starts it.
const hostSocket = "/run/netlab/agent.sock"

// Unasked is why a path could not be probed at all: it is broken.
type Unasked struct{ Why string }

func (u Unasked) Error() string { return u.Why }

// Absent is why a path has no destination: something that it requires does not exist, and
// it fails.
type Absent struct{ Why string }

func (a Absent) Error() string { return a.Why }

func (s Snapshot) Station(r Ref) (Station, error) {
	if e, own := s.Ends[r]; own && e.Why != "" {
		return Station{}, Absent{e.Why}
	} else if own && e.Pod.UID != "" {
		return s.visit(e.Pod)
	}
	switch r.Kind {
	case report.AtHost:
		if s.IsOff(r.Name) {
			return Station{}, Absent{s.Away[r.Name]}
		}
		return Station{Machine: r.Name, Socket: hostSocket}, nil
	case report.AtNode:
		return s.podStation(workload.NodeAgent(r.Name))
	default:
		return s.podStation(r.Name)
	}
}

// visit is the agent in the network namespace of a Pod of the user's.
func (s Snapshot) visit(p PodRef) (Station, error) {
	if why := s.Unvisited[p.Title()]; why != "" {
		return Station{}, Unasked{why}
	}
	if s.IsOff(p.Node) {
		return Station{}, Absent{s.Away[p.Node]}
	}
	return Station{Machine: p.Node, Socket: workload.Socket(p.Namespace, p.Name), Pod: p.Title(), IP: p.IP}, nil
}

func (s Snapshot) podStation(name string) (Station, error) {
	p, ok := s.Pods.Pod(name)
	if !ok {
		return Station{}, Unasked{fmt.Sprintf("agent Pod %s not found", name)}
	}
	if err := s.podUnmet(name); err != nil {
		return Station{}, err
	}
	return Station{Machine: p.Node, Socket: workload.Socket(p.Namespace, name), Pod: p.Namespace + "/" + name, IP: s.PodIPs[name]}, nil
}

// podUnmet returns why an agent Pod is missing: Absent if its Node is away, so that its paths fail,
// else Unasked.
func (s Snapshot) podUnmet(name string) error {
	why := s.Unmet["pod/"+name]
	switch {
	case why == "":
		return nil
	case why == s.Away[s.NodeOfPod(name)]:
		return Absent{why}
	}
	return Unasked{why}
}

// Address returns where a Ref listens, as host:port, and its bare address: of a machine's
// addresses the first that from reaches. For a name it is the full DNS name.
func (s Snapshot) Address(from, r Ref, protocol string) (target, ip string, err error) {
	at := func(ip string, port int) (string, string, error) {
		return JoinPort(ip, port), ip, nil
	}
	if e, own := s.Ends[r]; own {
		return s.ownAddress(from, e)
	}
	switch r.Kind {
	case report.AtPod:
		if err := s.podUnmet(r.Name); err != nil {
			return "", "", err
		}
		return at(s.PodIPs[r.Name], DataPort(protocol))
	case report.AtContainer:
		return at("127.0.0.1", workload.SecondPort)
	case report.AtNode:
		if _, err := s.podStation(workload.NodeAgent(r.Name)); err != nil {
			return "", "", err
		}
		return at(s.Toward(from, r.Name), agent.HostNetworkHTTP)
	case report.AtHost:
		if s.IsOff(r.Name) {
			return "", "", Absent{s.Away[r.Name]}
		}
		return at(s.Toward(from, r.Name), DataPort(protocol))
	case report.AtService:
		x, err := s.serviceWithEndpoints(r.Name)
		if err != nil {
			return "", "", err
		}
		return at(x.ClusterIP, servicePort(r.Name))
	case report.AtNodePort:
		if s.IsOff(r.Node) {
			return "", "", Absent{s.Away[r.Node]}
		}
		if p, ok := s.Pods.Pod(r.Name); ok {
			if err := s.podUnmet(r.Name); err != nil {
				return "", "", err
			}
			return at(s.Toward(from, r.Node), p.HostPort)
		}
		x, err := s.serviceWithEndpoints(r.Name)
		if err != nil {
			return "", "", err
		}
		if x.NodePorts[80] == 0 {
			return "", "", Absent{fmt.Sprintf("Service %s has no NodePort", r.Name)}
		}
		ip, _ := NodePortAddress(s.Plan, s.Support, from, r.Node)
		return at(ip.String(), int(x.NodePorts[80]))
	case report.AtVIP:
		x := s.Services[r.Name]
		if x.VIP == "" {
			return "", "", Absent{cmp.Or(s.Unmet["service/"+r.Name], "Service "+r.Name+" has no VIP")}
		}
		return at(x.VIP, 80)
	case report.AtIngress:
		return s.ingressAddress(from, protocol)
	case report.AtName:
		if strings.Contains(r.Name, ".") {
			return r.Name, "", nil
		}
		return r.Name + "." + workload.Namespace + ".svc." + s.Plan.Kubernetes.Domain, "", nil
	}
	return "", "", Unasked{fmt.Sprintf("unknown kind of reference %q", r.Kind)}
}

// DataPort is where agents with a network of their own, and outside hosts, serve a kind of probe.
func DataPort(protocol string) int {
	switch protocol {
	case agent.UDP, agent.MTU:
		return agent.PortUDP
	case agent.TCP:
		return agent.PortTCP
	}
	return agent.PortHTTP
}

// servicePort is that of a Service's ClusterIP.
func servicePort(service string) int {
	if service == workload.ServiceAPI {
		return 443
	}
	return 80
}

func (s Snapshot) serviceWithEndpoints(name string) (Service, error) {
	x := s.Services[name]
	if len(x.Ready) == 0 {
		return x, Absent{cmp.Or(s.Unmet["service/"+name], "Service "+name+" has no ready endpoints")}
	}
	return x, nil
}

func (s Snapshot) ingressAddress(from Ref, protocol string) (string, string, error) {
	port := 80
	if protocol == "https" {
		port = 443
	}
	if s.Plan.Ingress.Service == "NodePort" {
		nodePort := int(s.Ingress.NodePorts[int32(port)])
		if nodePort == 0 {
			return "", "", Absent{cmp.Or(s.Unmet["ingress"], "the ingress controller has no NodePort")}
		}
		addr, _ := AnyNodePort(s.Plan, s.Support, from)
		return JoinPort(addr.String(), nodePort), addr.String(), nil
	}
	if s.Ingress.VIP == "" {
		return "", "", Absent{cmp.Or(s.Unmet["ingress"], "the ingress controller has no VIP")}
	}
	return JoinPort(s.Ingress.VIP, port), s.Ingress.VIP, nil
}

// Toward is the address of a machine at which an end is to ask it: the first that the machine
// of that end reaches.
func (s Snapshot) Toward(from Ref, machine string) string {
	m, ok := s.Plan.Machine(machine)
	if !ok {
		return ""
	}
	addr, _ := topology.Nearest(s.Plan, from.Machine(), m.Addresses())
	return addr.String()
}

// MachineIP is a machine's first address.
func (s Snapshot) MachineIP(name string) string {
	m, ok := s.Plan.Machine(name)
	if !ok {
		return ""
	}
	return m.Address().String()
}

// NodeOfPod is "" for anything but an agent Pod.
func (s Snapshot) NodeOfPod(name string) string {
	p, _ := s.Pods.Pod(name)
	return p.Node
}

// SourceIP is the source address of a machine's packets to a target, from topology.Reach;
// the machine's first address where it has no route there.
func (s Snapshot) SourceIP(machine string, target netip.Addr) string {
	if source := topology.Reach(s.Plan, machine, target).Source; source.IsValid() {
		return source.String()
	}
	return s.MachineIP(machine)
}

// NodeSide reports whether an address belongs to a Node: to one of its NICs, or to its side
// of the Pod network (a bridge or tunnel address inside a Pod CIDR that no Pod has).
func (s Snapshot) NodeSide(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, n := range s.Plan.Nodes() {
		if slices.ContainsFunc(n.NICs, func(nic topology.NIC) bool { return nic.Has(addr) }) {
			return true
		}
	}
	if s.Foreign[ip] {
		return false
	}
	if s.Plan.Kubernetes.PodCIDR().Contains(addr) {
		return true
	}
	for _, cidr := range s.PodCIDRs {
		if cidr.Contains(addr) {
			return true
		}
	}
	return false
}

// NICOwner is the name of the machine that a MAC belongs to.
func (s Snapshot) NICOwner(mac string) string {
	for _, m := range s.Plan.Machines {
		for _, nic := range m.NICs {
			if strings.EqualFold(nic.MAC, mac) {
				return m.Name
			}
		}
	}
	return ""
}

func JoinPort(ip string, port int) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]:" + strconv.Itoa(port)
	}
	return ip + ":" + strconv.Itoa(port)
}

// OwnEnd reports whether an address is a Node's own address in the Pod network, such as that of a
// bridge or a tunnel. Not every CNI takes it from the Node's Pod CIDR.
func (s Snapshot) OwnEnd(ip, node string) bool {
	addr, err := netip.ParseAddr(ip)
	if err == nil && slices.Contains(s.Own[node], addr) {
		return true
	}
	return err == nil && !s.Foreign[ip] && s.PodCIDRs[node].IsValid() && s.PodCIDRs[node].Contains(addr)
}
