package page

import (
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/drawing"
	"netlab.dev/netlab/verify/report"
)

// scene is the inside of machines as a report shows it: Pods that paths end at or packets
// passed, and the bridges and tunnels that these crossed.
type scene struct {
	pods       []drawing.Pod
	interfaces []drawing.Interface
}

func sceneOf(r report.Report, plan topology.Plan) scene {
	var s scene
	for _, p := range r.Paths {
		for _, e := range []report.End{p.From, p.To} {
			if pod := podOf(e); pod != "" {
				s.pod(pod, e.Node, e.IP)
			}
		}
	}
	for _, p := range r.Paths {
		if p.Evidence == nil {
			continue
		}
		for i, h := range p.Evidence.Hops {
			switch {
			case h.Pod != "":
				s.pod(h.Pod, h.Machine, podAddress(h))
			case h.Peer != "":
				s.pod(h.Peer, h.Machine, "")
			case h.Interface != "lo" && !isNIC(plan, h.Machine, h.Interface):
				s.inner(h.Machine, h.Interface, wraps(p.Evidence.Hops, i))
			}
		}
	}
	return s
}

// podOf is the name of the Pod that an end is, or is a container of.
func podOf(e report.End) string {
	switch e.Kind {
	case report.AtPod:
		return e.Name
	case report.AtContainer:
		name, _, _ := strings.Cut(e.Name, "/") // Pod names have no slash
		return name
	}
	return ""
}

// podAddress is a Pod's own address, as in a packet on its interface.
func podAddress(h report.Hop) string {
	own := h.Source
	if h.Direction == "in" {
		own = h.Destination
	}
	if at, err := netip.ParseAddrPort(own); err == nil && h.Interface != "lo" {
		return at.Addr().String()
	}
	return ""
}

func (s *scene) pod(name, node, ip string) {
	i := slices.IndexFunc(s.pods, func(p drawing.Pod) bool { return p.Name == name && p.Node == node })
	if i < 0 {
		s.pods = append(s.pods, drawing.Pod{Name: name, Label: name[strings.Index(name, "/")+1:], Node: node, IP: ip})
	} else if s.pods[i].IP == "" {
		s.pods[i].IP = ip
	}
}

func (s *scene) inner(machine, name string, tunnel bool) {
	i := slices.IndexFunc(s.interfaces, func(i drawing.Interface) bool { return i.Machine == machine && i.Name == name })
	if i < 0 {
		i = len(s.interfaces)
		s.interfaces = append(s.interfaces, drawing.Interface{Machine: machine, Name: name})
	}
	s.interfaces[i].Tunnel = s.interfaces[i].Tunnel || tunnel
}

// wraps reports whether a hop's packet is encapsulated at the next hop of the machine, or was
// at the previous one: its interface is the tunnel.
func wraps(hops []report.Hop, i int) bool {
	for _, j := range []int{i - 1, i + 1} {
		if j < 0 || j >= len(hops) || hops[j].Machine != hops[i].Machine || hops[j].Leg != hops[i].Leg {
			continue
		}
		if hops[i].Outer == nil && hops[j].Outer != nil {
			return true
		}
	}
	return false
}

// node is the Node of a Pod, "" for a Pod that is not in the scene.
func (s scene) node(pod string) string {
	for _, p := range s.pods {
		if p.Name == pod {
			return p.Node
		}
	}
	return ""
}

func isNIC(plan topology.Plan, machine, name string) bool {
	return networkOf(plan, machine, name) != ""
}

// networkOf is the network that a machine's NIC is on, "" for other interfaces.
func networkOf(plan topology.Plan, machine, name string) string {
	m, _ := plan.Machine(machine)
	for _, nic := range m.NICs {
		if nic.Name == name {
			return nic.Network
		}
	}
	return ""
}
