package observe

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// End is an end of a path of the user's, found in the cluster.
type End struct {
	IP     string    // that is asked; "" for a DNS name and for what was not found
	Name   string    // DNS name that is asked, or a host of an Ingress
	Port   int       // 0 where the protocol has none
	Pod    PodRef    // of an end that is one Pod
	Behind []Backend // what may answer; none where it is not in the lab
	Why    string    // why it was not found
}

// PodRef is a Pod of any Namespace.
type PodRef struct {
	Namespace, Name, UID, Node, IP string
	HostNetwork                    bool
}

// Backend is a Pod or a machine that answers at an end, and where.
type Backend struct {
	Pod     PodRef // the zero PodRef for a machine
	Machine string // that it is, or runs on
	IP      string
	Port    int
}

// Title names a Pod with its Namespace.
func (p PodRef) Title() string { return p.Namespace + "/" + p.Name }

func podRef(p *corev1.Pod) PodRef {
	return PodRef{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Node: p.Spec.NodeName, IP: p.Status.PodIP, HostNetwork: p.Spec.HostNetwork}
}

// ownAddress is where an end of the user's is asked: a machine at the address that from reaches, an
// Ingress at its controller, whatever its name.
func (s Snapshot) ownAddress(from Ref, e End) (target, ip string, err error) {
	if e.Why != "" {
		return "", "", Absent{e.Why}
	}
	if e.IP == "" {
		if e.Port == 0 {
			return e.Name, "", nil
		}
		return JoinPort(e.Name, e.Port), "", nil
	}
	if len(e.Behind) == 1 && e.Behind[0].Pod == (PodRef{}) && e.Behind[0].IP == e.IP {
		if m, ok := s.Plan.Machine(e.Behind[0].Machine); ok && m.Address().String() == e.IP {
			e.IP = s.Toward(from, m.Name)
		}
	}
	return JoinPort(e.IP, e.Port), e.IP, nil
}

// maxEnds bounds how many Pods of a workload are ends of one path.
const maxEnds = 16

// Sources finds where a path starts: each ready Pod of a workload, or a machine.
func (s State) Sources(plan topology.Plan, text string) map[Ref]End {
	e, err := labs.ParseEnd(text)
	if err != nil {
		return map[Ref]End{{Kind: report.AtPod, Name: text}: {Why: err.Error()}}
	}
	if !e.Workload() {
		m, _ := plan.Machine(e.Name)
		return map[Ref]End{atMachine(m): {IP: m.Address().String()}}
	}
	pods, why := s.podsOf(e)
	if why != "" {
		return map[Ref]End{{Kind: report.AtPod, Name: text}: {Why: why}}
	}
	out := map[Ref]End{}
	for _, p := range pods[:min(len(pods), maxEnds)] {
		out[Ref{Kind: report.AtPod, Name: p.Title(), Node: p.Node}] = End{IP: p.IP, Pod: p}
	}
	return out
}

func atMachine(m topology.Machine) Ref {
	if m.Kind == topology.KindNode {
		return AtNode(m)
	}
	return AtHost(m)
}

// Targets finds what a path leads to: each ready Pod of a workload, or one Service, machine,
// address or name.
func (s State) Targets(plan topology.Plan, ingresses []networkingv1.Ingress, ingress Service, p labs.Path) map[Ref]End {
	e, err := labs.ParseEnd(p.To)
	port := e.Port
	if port == "" {
		port = map[string]string{labs.PathHTTP: "80", labs.PathHTTPS: "443"}[p.Protocol]
	}
	title := titleOf(p, strings.TrimSuffix(p.To, ":"+e.Port), port)
	one := func(kind string, e End) map[Ref]End { return map[Ref]End{{Kind: kind, Name: title}: e} }
	if err != nil {
		return one(report.AtAddress, End{Why: err.Error()})
	}
	number, _ := strconv.Atoi(port)
	x := s.Service(e.Namespace, e.Name)
	switch {
	case p.Protocol == labs.PathDNS && e.Namespace != "":
		return one(report.AtName, End{Name: e.Name + "." + e.Namespace + ".svc." + plan.Kubernetes.Domain})
	case p.Protocol == labs.PathDNS:
		return one(report.AtName, End{Name: e.Name})
	case x != nil && (e.Kind == labs.EndObject || e.Kind == labs.EndService), e.Kind == labs.EndVIP && x != nil:
		kind := report.AtService
		if e.Kind == labs.EndVIP {
			kind = report.AtVIP
		}
		return one(kind, s.serviceEnd(plan, x, kind, port, p.Protocol))
	case e.Kind == labs.EndService || e.Kind == labs.EndVIP:
		return one(report.AtService, End{Why: fmt.Sprintf("Service %s/%s not found", e.Namespace, e.Name)})
	case e.Workload():
		return s.podEnds(e, port, p)
	case e.Kind == labs.EndAddress:
		return one(report.AtAddress, s.addressEnd(plan, e.Name, number))
	case e.Kind == labs.EndIngress || e.Kind == labs.EndName && p.Protocol != labs.PathTCP && p.Protocol != labs.PathUDP && hasHost(ingresses, e.Name):
		return one(report.AtIngress, s.ingressEnd(plan, ingresses, ingress, e.Name, number, p))
	case e.Kind == labs.EndName:
		return one(report.AtAddress, End{Name: e.Name, Port: number})
	}
	m, _ := plan.Machine(e.Name)
	kind := atMachine(m).Kind
	return map[Ref]End{{Kind: kind, Name: title, Node: atMachine(m).Node}: {IP: m.Address().String(), Port: number,
		Behind: []Backend{{Machine: m.Name, IP: m.Address().String(), Port: number}}}}
}

// titleOf is what a report calls a destination: with its port, and what is asked of it.
func titleOf(p labs.Path, name, port string) string {
	if port != "" && p.Protocol != labs.PathDNS {
		name += ":" + port
	}
	if p.Protocol == labs.PathUDP {
		name += "/udp"
	}
	if p.Path != "/" {
		name += p.Path
	}
	return name
}

// podsOf are the ready Pods of a workload or a Pod.
func (s State) podsOf(e labs.End) (pods []PodRef, why string) {
	if e.Namespace == workload.Namespace || e.Namespace == workload.GuestsNamespace {
		return nil, fmt.Sprintf("the Pods of Namespace %s are netlab's own", e.Namespace)
	}
	found := false
	for _, p := range s.Pods {
		if p.Namespace != e.Namespace || !ofWorkload(p, e) {
			continue
		}
		found = true
		if PodReady(p) {
			pods = append(pods, podRef(p))
		}
	}
	what := fmt.Sprintf("%s %s/%s", cmp.Or(e.Kind, "workload or Pod"), e.Namespace, e.Name)
	switch {
	case len(pods) > 0:
		return pods, ""
	case found:
		return nil, "no Pod of " + what + " is ready"
	}
	return nil, what + " not found, or it has no Pods"
}

// ofWorkload reports whether a Pod is one that an end names, or of the workload that it names.
func ofWorkload(p *corev1.Pod, e labs.End) bool {
	if p.Name == e.Name && (e.Kind == labs.EndObject || e.Kind == "pod") {
		return true
	}
	kind, name := workloadOf(p)
	return name == e.Name && kind != "pod" && (e.Kind == kind || e.Kind == labs.EndObject)
}

// podEnds are the ready Pods of a workload as destinations.
func (s State) podEnds(e labs.End, port string, p labs.Path) map[Ref]End {
	pods, why := s.podsOf(e)
	if why != "" {
		if e.Kind == labs.EndObject {
			why = strings.Replace(why, "workload or Pod", "Service, workload or Pod", 1)
		}
		return map[Ref]End{{Kind: report.AtPod, Name: titleOf(p, e.Namespace+"/"+e.Name, port)}: {Why: why}}
	}
	out := map[Ref]End{}
	for _, of := range pods[:min(len(pods), maxEnds)] {
		number, err := strconv.Atoi(port)
		if err != nil {
			number = containerPort(s.Pod(of.Namespace, of.Name), port)
		}
		end := End{IP: of.IP, Port: number, Pod: of, Behind: []Backend{{Pod: of, Machine: of.Node, IP: of.IP, Port: number}}}
		if number == 0 {
			end.Why = fmt.Sprintf("Pod %s has no port %s", of.Title(), port)
		}
		out[Ref{Kind: report.AtPod, Name: titleOf(p, of.Title(), port), Node: of.Node}] = end
	}
	return out
}

func containerPort(p *corev1.Pod, name string) int {
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == name {
				return int(port.ContainerPort)
			}
		}
	}
	return 0
}

// serviceEnd is a Service's ClusterIP or VIP at one of its ports. One of type ExternalName is its
// name, and a headless one too.
func (s State) serviceEnd(plan topology.Plan, x *corev1.Service, kind, port, protocol string) End {
	title := "Service " + x.Namespace + "/" + x.Name
	number, _ := strconv.Atoi(port)
	name := x.Name + "." + x.Namespace + ".svc." + plan.Kubernetes.Domain
	if x.Spec.Type == corev1.ServiceTypeExternalName {
		return End{Name: name, Port: number}
	}
	transport := corev1.ProtocolTCP
	if protocol == labs.PathUDP {
		transport = corev1.ProtocolUDP
	}
	at := slices.IndexFunc(x.Spec.Ports, func(p corev1.ServicePort) bool {
		return cmp.Or(p.Protocol, corev1.ProtocolTCP) == transport && (p.Name == port || int(p.Port) == number)
	})
	if at < 0 {
		return End{Why: fmt.Sprintf("%s has no %s port %s", title, transport, port)}
	}
	of := x.Spec.Ports[at]
	end := End{IP: x.Spec.ClusterIP, Port: int(of.Port), Behind: s.behind(x.Namespace, x.Name, of.Name)}
	switch {
	case kind == report.AtVIP:
		if end.IP = VIPOf(x); end.IP == "" {
			return End{Why: title + " has no VIP"}
		}
	case end.IP == corev1.ClusterIPNone:
		end.IP, end.Name = "", name
		if len(end.Behind) > 0 {
			end.Port = end.Behind[0].Port // a headless Service does not translate ports
		}
	}
	if len(end.Behind) == 0 {
		end.Why = title + " has no ready endpoints"
	}
	return end
}

// behind are the ready endpoints of a port of a Service.
func (s State) behind(namespace, service, port string) (all []Backend) {
	for _, slice := range s.Slices {
		if slice.Namespace != namespace || slice.Labels[workload.ServiceLabel] != service {
			continue
		}
		number := 0
		for _, p := range slice.Ports {
			if p.Port != nil && (p.Name == nil || *p.Name == port) {
				number = int(*p.Port)
			}
		}
		for _, e := range slice.Endpoints {
			if number == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
				continue
			}
			b := Backend{IP: e.Addresses[0], Port: number}
			if e.NodeName != nil {
				b.Machine = *e.NodeName
			}
			if e.TargetRef != nil {
				if p := s.Pod(namespace, e.TargetRef.Name); p != nil {
					b.Pod, b.Machine = podRef(p), p.Spec.NodeName
				}
			}
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Backend) int { return cmp.Compare(a.IP, b.IP) })
	return all
}

// addressEnd is an address, with the Pod, Service or machine that has it.
func (s State) addressEnd(plan topology.Plan, ip string, port int) End {
	end := End{IP: ip, Port: port}
	for _, p := range s.Pods {
		if p.Status.PodIP == ip && !p.Spec.HostNetwork && PodReady(p) {
			end.Pod = podRef(p)
			end.Behind = []Backend{{Pod: end.Pod, Machine: p.Spec.NodeName, IP: ip, Port: port}}
		}
	}
	for _, x := range s.Services {
		for _, p := range x.Spec.Ports {
			if (x.Spec.ClusterIP == ip || VIPOf(x) == ip) && int(p.Port) == port {
				end.Behind = s.behind(x.Namespace, x.Name, p.Name)
			}
		}
	}
	if addr, err := netip.ParseAddr(ip); err == nil {
		for _, m := range plan.Machines {
			if slices.Contains(m.Addresses(), addr) {
				end.Behind = []Backend{{Machine: m.Name, IP: ip, Port: port}}
			}
		}
	}
	return end
}

func hasHost(ingresses []networkingv1.Ingress, host string) bool {
	return slices.ContainsFunc(ingresses, func(x networkingv1.Ingress) bool {
		return slices.ContainsFunc(x.Spec.Rules, func(r networkingv1.IngressRule) bool {
			return r.Host == host || strings.HasPrefix(r.Host, "*.") && strings.HasSuffix(host, r.Host[1:])
		})
	})
}

// ingressEnd is the ingress controller, asked for a host.
func (s State) ingressEnd(plan topology.Plan, ingresses []networkingv1.Ingress, ingress Service, host string, port int, p labs.Path) End {
	end := End{IP: ingress.VIP, Name: host, Port: port}
	for _, pod := range s.IngressController() {
		if PodReady(pod) {
			ref := podRef(pod)
			end.Behind = append(end.Behind, Backend{Pod: ref, Machine: ref.Node, IP: ref.IP, Port: cmp.Or(containerPort(pod, p.Protocol), port)})
		}
	}
	switch {
	case !hasHost(ingresses, host):
		end.Why = "no Ingress has host " + host
	case plan.Ingress.Name == labs.None:
		end.Why = "the lab has no ingress controller"
	case plan.Ingress.Service == "NodePort" && len(plan.Nodes()) > 0:
		end.IP, end.Port = plan.Nodes()[0].Address().String(), int(ingress.NodePorts[int32(port)])
	case end.IP == "":
		end.Why = "the ingress controller has no VIP"
	}
	return end
}
