package verify

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// world is what the paths' names stand for while the lab runs: addresses, ports, who is
// behind what. It is read once, after waiting, and does not change.
type world struct {
	plan     topology.Plan
	support  components.Support
	cast     cast
	dir      string // the lab's state directory
	podIPs   map[string]string
	services map[string]service
	ingress  service
	podCIDRs map[string]netip.Prefix // by Node
	foreign  map[string]bool         // addresses of all Pods that have their own, of any namespace
	leaf     string                  // fingerprint of the Ingress's certificate
	lacking  map[string]string       // What → Why
}

// service is a Service as it came to be.
type service struct {
	ClusterIP string
	VIP       string
	NodePorts map[int32]int32 // port → NodePort
	Ready     []string        // Pods behind it
	Nodes     []string        // that they run on
}

func newWorld(plan topology.Plan, support components.Support, dir string, s state, missing []lack, certificate []byte) world {
	w := world{plan: plan, support: support, cast: castOf(plan), dir: dir,
		podIPs: map[string]string{}, services: map[string]service{}, podCIDRs: map[string]netip.Prefix{},
		foreign: map[string]bool{}, lacking: map[string]string{}}
	for _, l := range missing {
		w.lacking[l.What] = l.Why
	}
	for _, p := range w.cast.all() {
		if pod := s.pod(p.Namespace, p.Name); pod != nil && podReady(pod) {
			w.podIPs[p.Name] = pod.Status.PodIP
		}
	}
	for _, p := range s.Pods {
		if !p.Spec.HostNetwork && p.Status.PodIP != "" {
			w.foreign[p.Status.PodIP] = true
		}
	}
	for _, x := range s.Services {
		if x.Namespace == Namespace {
			w.services[x.Name] = serviceOf(x, s)
		}
	}
	if x := s.ingressService(plan); x != nil {
		w.ingress = serviceOf(x, s)
	}
	for _, n := range s.Nodes {
		if cidr, err := netip.ParsePrefix(n.Spec.PodCIDR); err == nil {
			w.podCIDRs[n.Name] = cidr
		}
	}
	if block, _ := pem.Decode(certificate); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			w.leaf = agent.Fingerprint(cert.Raw)
		}
	}
	return w
}

func serviceOf(x *corev1.Service, s state) service {
	out := service{ClusterIP: x.Spec.ClusterIP, VIP: vipOf(x), NodePorts: map[int32]int32{}, Ready: s.ready(x.Namespace, x.Name)}
	for _, p := range x.Spec.Ports {
		out.NodePorts[p.Port] = p.NodePort
	}
	for _, name := range out.Ready {
		if pod := s.pod(x.Namespace, name); pod != nil && !slices.Contains(out.Nodes, pod.Spec.NodeName) {
			out.Nodes = append(out.Nodes, pod.Spec.NodeName)
		}
	}
	return out
}

// station is an agent that can be asked: where its socket is, and who it must say it is.
type station struct {
	Machine string
	Socket  string
	Pod     string // "" for an outside host
	IP      string // "" where it does not say
}

func (s station) who() string { return or(s.Pod, s.Machine) }

// unasked is why a path could not be asked at all: it is broken.
type unasked struct{ error }

// absent is why a path has nothing to ask: what it needs is not there, and it fails.
type absent struct{ error }

func (w world) station(r Ref) (station, error) {
	switch r.Kind {
	case AtHost:
		return station{Machine: r.Name, Socket: filepath.Join(w.dir, "hosts", r.Name, "agent.sock")}, nil
	case AtNode:
		return w.podStation(nodeAgent(r.Name))
	default:
		return w.podStation(r.Name)
	}
}

func (w world) podStation(name string) (station, error) {
	p, ok := w.cast.pod(name)
	if !ok {
		return station{}, unasked{fmt.Errorf("there is no agent Pod %s", name)}
	}
	if why := w.lacking["pod/"+name]; why != "" {
		return station{}, unasked{fmt.Errorf("%s", why)}
	}
	return station{Machine: p.Node, Socket: Socket(p.Namespace, name), Pod: p.Namespace + "/" + name, IP: w.podIPs[name]}, nil
}

// address gives where a Ref listens, as host:port, and its bare address. For a name it is
// the full DNS name.
func (w world) address(r Ref, protocol string) (target, ip string, err error) {
	at := func(ip string, port int) (string, string, error) {
		return joinPort(ip, port), ip, nil
	}
	switch r.Kind {
	case AtPod:
		if why := w.lacking["pod/"+r.Name]; why != "" {
			return "", "", unasked{fmt.Errorf("%s", why)}
		}
		return at(w.podIPs[r.Name], agent.PortHTTP)
	case AtContainer:
		return at("127.0.0.1", secondPort)
	case AtNode:
		if _, err := w.podStation(nodeAgent(r.Name)); err != nil {
			return "", "", err
		}
		return at(w.machineIP(r.Name), agent.PortHTTP)
	case AtHost:
		return at(w.machineIP(r.Name), agent.PortHTTP)
	case AtService:
		s, err := w.serviceWithEndpoints(r.Name)
		if err != nil {
			return "", "", err
		}
		return at(s.ClusterIP, 80)
	case AtNodePort:
		s, err := w.serviceWithEndpoints(r.Name)
		if err != nil {
			return "", "", err
		}
		if s.NodePorts[80] == 0 {
			return "", "", absent{fmt.Errorf("Service %s has no NodePort", r.Name)}
		}
		return at(w.machineIP(r.Node), int(s.NodePorts[80]))
	case AtVIP:
		s := w.services[r.Name]
		if s.VIP == "" {
			return "", "", absent{fmt.Errorf("%s", or(w.lacking["service/"+r.Name], "Service "+r.Name+" has no VIP"))}
		}
		return at(s.VIP, 80)
	case AtIngress:
		return w.ingressAddress(protocol)
	case AtName:
		if strings.Contains(r.Name, ".") {
			return r.Name, "", nil
		}
		return r.Name + "." + Namespace + ".svc." + w.plan.Kubernetes.Domain, "", nil
	}
	return "", "", unasked{fmt.Errorf("unknown kind of end %q", r.Kind)}
}

func (w world) serviceWithEndpoints(name string) (service, error) {
	s := w.services[name]
	if len(s.Ready) == 0 {
		return s, absent{fmt.Errorf("%s", or(w.lacking["service/"+name], "Service "+name+" has no ready endpoints"))}
	}
	return s, nil
}

func (w world) ingressAddress(protocol string) (string, string, error) {
	port := 80
	if protocol == "https" {
		port = 443
	}
	if w.plan.Ingress.Service == "NodePort" {
		nodePort := int(w.ingress.NodePorts[int32(port)])
		if nodePort == 0 {
			return "", "", absent{fmt.Errorf("%s", or(w.lacking["ingress"], "the ingress controller has no NodePort"))}
		}
		ip := workersFirst(w.plan)[0].Address().String()
		return joinPort(ip, nodePort), ip, nil
	}
	if w.ingress.VIP == "" {
		return "", "", absent{fmt.Errorf("%s", or(w.lacking["ingress"], "the ingress controller has no VIP"))}
	}
	return joinPort(w.ingress.VIP, port), w.ingress.VIP, nil
}

func (w world) machineIP(name string) string {
	m, ok := w.plan.Machine(name)
	if !ok {
		return ""
	}
	return m.Address().String()
}

// nodeOfPod is "" for what is no agent Pod.
func (w world) nodeOfPod(name string) string {
	p, _ := w.cast.pod(name)
	return p.Node
}

// egressIP is the address of a Node that a packet to a target leaves with: that of the NIC
// on the target's network, else of the NIC towards the route's gateway.
func egressIP(node topology.Machine, target netip.Addr) string {
	via := target
	best := -1
	for _, r := range node.Routes {
		if r.To.Contains(target) && r.To.Bits() > best {
			via, best = r.Via, r.To.Bits()
		}
	}
	for _, hop := range []netip.Addr{target, via} {
		for _, nic := range node.NICs {
			if nic.Address.Contains(hop) {
				return nic.Address.Addr().String()
			}
		}
	}
	return node.Address().String()
}

// nodeSide reports whether an address is a Node's: of one of its NICs, or of its own end
// of the Pod network (a bridge or tunnel address inside a Pod CIDR that is no Pod's).
func (w world) nodeSide(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, n := range w.plan.Nodes() {
		if slices.ContainsFunc(n.NICs, func(nic topology.NIC) bool { return nic.Address.Addr() == addr }) {
			return true
		}
	}
	if w.foreign[ip] {
		return false
	}
	if w.plan.Kubernetes.PodCIDR.Contains(addr) {
		return true
	}
	for _, cidr := range w.podCIDRs {
		if cidr.Contains(addr) {
			return true
		}
	}
	return false
}

// nicOwner names the machine that a MAC belongs to.
func (w world) nicOwner(mac string) string {
	for _, m := range w.plan.Machines {
		for _, nic := range m.NICs {
			if strings.EqualFold(nic.MAC, mac) {
				return m.Name
			}
		}
	}
	return ""
}

func joinPort(ip string, port int) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]:" + itoa(port)
	}
	return ip + ":" + itoa(port)
}

func itoa(n int) string { return strconv.Itoa(n) }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
