// Package observe reads the cluster that is verified. Follow watches it, Await waits until
// it has what the paths require, and New gives a Snapshot: which address each name
// stands for, who is behind each Service. A Snapshot does not change, and judges nothing.
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

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// OutsideTarget is the host that Pods reach out to: the internet, else the first client.
func OutsideTarget(plan topology.Plan) (topology.Machine, bool) {
	for _, role := range []string{topology.RoleInternet, topology.RoleClient} {
		for _, m := range plan.WithRole(role) {
			return m, true
		}
	}
	return topology.Machine{}, false
}

// Snapshot is what the paths' names stand for while the lab runs: addresses, ports, who is
// behind what. It is read once, after waiting, and does not change.
type Snapshot struct {
	Plan     topology.Plan
	Support  components.Support
	Pods     workload.Pods
	PodIPs   map[string]string
	Services map[string]service
	Ingress  service
	PodCIDRs map[string]netip.Prefix // by Node
	Foreign  map[string]bool         // addresses of all Pods that have their own, of any namespace
	Leaf     string                  // fingerprint of the Ingress's certificate
	Unmet    map[string]string       // What → Why
}

// service is a Service as it came to be.
type service struct {
	ClusterIP string
	VIP       string
	NodePorts map[int32]int32 // port → NodePort
	Ready     []string        // Pods behind it
	Nodes     []string        // that they run on
}

func New(plan topology.Plan, support components.Support, s State, missing []Unmet, certificate []byte) Snapshot {
	w := Snapshot{Plan: plan, Support: support, Pods: workload.PodsOf(plan),
		PodIPs: map[string]string{}, Services: map[string]service{}, PodCIDRs: map[string]netip.Prefix{},
		Foreign: map[string]bool{}, Unmet: map[string]string{}}
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
	}
	if x := s.ingressService(plan); x != nil {
		w.Ingress = serviceOf(x, s)
	}
	for _, n := range s.Nodes {
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

func serviceOf(x *corev1.Service, s State) service {
	out := service{ClusterIP: x.Spec.ClusterIP, VIP: VIPOf(x), NodePorts: map[int32]int32{}, Ready: s.Ready(x.Namespace, x.Name)}
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

// Station is an agent that can be asked: where its socket is, and who it must say it is.
type Station struct {
	Machine string
	Socket  string
	Pod     string // "" for an outside host
	IP      string // "" where it does not say
}

func (s Station) Who() string { return cmp.Or(s.Pod, s.Machine) }

// hostSocket is the control socket of an outside host's agent, in the host's file system, as
// the component agent starts it.
const hostSocket = "/run/netlab/agent.sock"

// Unasked is why a path could not be asked at all: it is broken.
type Unasked struct{ Why string }

func (u Unasked) Error() string { return u.Why }

// Absent is why a path has nothing to ask: what it needs is not there, and it fails.
type Absent struct{ Why string }

func (a Absent) Error() string { return a.Why }

func (w Snapshot) Station(r Ref) (Station, error) {
	switch r.Kind {
	case report.AtHost:
		return Station{Machine: r.Name, Socket: hostSocket}, nil
	case report.AtNode:
		return w.podStation(workload.NodeAgent(r.Name))
	default:
		return w.podStation(r.Name)
	}
}

func (w Snapshot) podStation(name string) (Station, error) {
	p, ok := w.Pods.Pod(name)
	if !ok {
		return Station{}, Unasked{fmt.Sprintf("there is no agent Pod %s", name)}
	}
	if why := w.Unmet["pod/"+name]; why != "" {
		return Station{}, Unasked{why}
	}
	return Station{Machine: p.Node, Socket: workload.Socket(p.Namespace, name), Pod: p.Namespace + "/" + name, IP: w.PodIPs[name]}, nil
}

// Address gives where a Ref listens, as host:port, and its bare address. For a name it is
// the full DNS name.
func (w Snapshot) Address(r Ref, protocol string) (target, ip string, err error) {
	at := func(ip string, port int) (string, string, error) {
		return JoinPort(ip, port), ip, nil
	}
	switch r.Kind {
	case report.AtPod:
		if why := w.Unmet["pod/"+r.Name]; why != "" {
			return "", "", Unasked{why}
		}
		return at(w.PodIPs[r.Name], agent.PortHTTP)
	case report.AtContainer:
		return at("127.0.0.1", workload.SecondPort)
	case report.AtNode:
		if _, err := w.podStation(workload.NodeAgent(r.Name)); err != nil {
			return "", "", err
		}
		return at(w.MachineIP(r.Name), agent.PortHTTP)
	case report.AtHost:
		return at(w.MachineIP(r.Name), agent.PortHTTP)
	case report.AtService:
		s, err := w.serviceWithEndpoints(r.Name)
		if err != nil {
			return "", "", err
		}
		return at(s.ClusterIP, 80)
	case report.AtNodePort:
		s, err := w.serviceWithEndpoints(r.Name)
		if err != nil {
			return "", "", err
		}
		if s.NodePorts[80] == 0 {
			return "", "", Absent{fmt.Sprintf("Service %s has no NodePort", r.Name)}
		}
		return at(w.MachineIP(r.Node), int(s.NodePorts[80]))
	case report.AtVIP:
		s := w.Services[r.Name]
		if s.VIP == "" {
			return "", "", Absent{cmp.Or(w.Unmet["service/"+r.Name], "Service "+r.Name+" has no VIP")}
		}
		return at(s.VIP, 80)
	case report.AtIngress:
		return w.ingressAddress(protocol)
	case report.AtName:
		if strings.Contains(r.Name, ".") {
			return r.Name, "", nil
		}
		return r.Name + "." + workload.Namespace + ".svc." + w.Plan.Kubernetes.Domain, "", nil
	}
	return "", "", Unasked{fmt.Sprintf("unknown kind of end %q", r.Kind)}
}

func (w Snapshot) serviceWithEndpoints(name string) (service, error) {
	s := w.Services[name]
	if len(s.Ready) == 0 {
		return s, Absent{cmp.Or(w.Unmet["service/"+name], "Service "+name+" has no ready endpoints")}
	}
	return s, nil
}

func (w Snapshot) ingressAddress(protocol string) (string, string, error) {
	port := 80
	if protocol == "https" {
		port = 443
	}
	if w.Plan.Ingress.Service == "NodePort" {
		nodePort := int(w.Ingress.NodePorts[int32(port)])
		if nodePort == 0 {
			return "", "", Absent{cmp.Or(w.Unmet["ingress"], "the ingress controller has no NodePort")}
		}
		ip := workload.WorkersFirst(w.Plan)[0].Address().String()
		return JoinPort(ip, nodePort), ip, nil
	}
	if w.Ingress.VIP == "" {
		return "", "", Absent{cmp.Or(w.Unmet["ingress"], "the ingress controller has no VIP")}
	}
	return JoinPort(w.Ingress.VIP, port), w.Ingress.VIP, nil
}

func (w Snapshot) MachineIP(name string) string {
	m, ok := w.Plan.Machine(name)
	if !ok {
		return ""
	}
	return m.Address().String()
}

// NodeOfPod is "" for what is no agent Pod.
func (w Snapshot) NodeOfPod(name string) string {
	p, _ := w.Pods.Pod(name)
	return p.Node
}

// EgressIP is the address of a Node that a packet to a target leaves with: that of the NIC
// on the target's network, else of the NIC towards the route's gateway.
func EgressIP(node topology.Machine, target netip.Addr) string {
	via := target
	best := -1
	for _, r := range node.Routes {
		if r.To.Contains(target) && r.To.Bits() > best {
			via, best = r.Via, r.To.Bits()
		}
	}
	for _, hop := range []netip.Addr{target, via} {
		for _, nic := range node.NICs {
			if nic.Address().Contains(hop) {
				return nic.Address().Addr().String()
			}
		}
	}
	return node.Address().String()
}

// NodeSide reports whether an address is a Node's: of one of its NICs, or of its own end
// of the Pod network (a bridge or tunnel address inside a Pod CIDR that is no Pod's).
func (w Snapshot) NodeSide(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, n := range w.Plan.Nodes() {
		if slices.ContainsFunc(n.NICs, func(nic topology.NIC) bool { return nic.Has(addr) }) {
			return true
		}
	}
	if w.Foreign[ip] {
		return false
	}
	if w.Plan.Kubernetes.PodCIDR().Contains(addr) {
		return true
	}
	for _, cidr := range w.PodCIDRs {
		if cidr.Contains(addr) {
			return true
		}
	}
	return false
}

// NicOwner names the machine that a MAC belongs to.
func (w Snapshot) NicOwner(mac string) string {
	for _, m := range w.Plan.Machines {
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
