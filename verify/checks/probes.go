package checks

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// The parts that probes play in a path. Every path has a main one.
const (
	PartMain    = "main"
	partControl = "control" // must be answered for the silence of main to mean anything
	partMTU     = "mtu"
	partBind    = "bind"
	partDNS     = "dns"
	PartARP     = "arp"
)

// Ask is one probe of a path.
type Ask struct {
	Part  string
	From  observe.Ref
	Probe agent.Probe
}

// AsksOf turns a path into probes. Its error is unasked or absent.
func AsksOf(w observe.Snapshot, p Row) ([]Ask, error) {
	if _, err := w.Station(p.From); err != nil {
		return nil, err
	}
	target, ip, err := w.Address(p.To, p.Protocol)
	if err != nil {
		return nil, err
	}
	main := Ask{Part: PartMain, From: p.From, Probe: agent.Probe{Kind: p.Protocol, Target: p.Protocol + "://" + target + "/"}}
	with := func(more ...Ask) ([]Ask, error) { return append([]Ask{main}, more...), nil }
	also := func(part string, probe agent.Probe) Ask { return Ask{Part: part, From: p.From, Probe: probe} }
	switch p.ID {
	case ContainerToContainer:
		return with(also(partBind, agent.Probe{Kind: agent.Bind, Target: strconv.Itoa(workload.SecondPort)}))
	case PodToPodCrossNode:
		return with(also(partMTU, agent.Probe{Kind: agent.MTU, Target: observe.JoinPort(ip, agent.PortUDP),
			Hint: expectedPayload(w, p.From.Node, p.To.Node), TimeoutMillis: 3000}))
	case PodToClusterIP:
		main.Probe.Count, main.Probe.Parallel = enough(len(w.Services[p.To.Name].Ready)), true
	case PodToHeadless:
		main.Probe.Target = fmt.Sprintf("http://%s:%d/", target, agent.PortHTTP)
		return with(also(partDNS, agent.Probe{Kind: agent.DNS, Target: target + "."}))
	case DNSService:
		// The short name, so that the Pod's search list is proved with it.
		main.Probe.Target = p.To.Name
		main.Probe.TimeoutMillis = 2000
	case DNSExternal:
		main.Probe.Target = target + "."
		main.Probe.TimeoutMillis = 2000
	case PodToExternalName:
		main.Probe.Target = fmt.Sprintf("http://%s:%d/", target, agent.PortHTTP)
		return with(also(partDNS, agent.Probe{Kind: agent.DNS, Target: target + ".", TimeoutMillis: 2000}))
	case OutsideToNodePort:
		if p.Expected == report.Unreachable {
			return with(control(w, p.From, p.To.Node))
		}
	case OutsideToLoadBalancer:
		main.Probe.Count, main.Probe.Parallel = 20, true
		if OnLink(w, p.From.Name, ip) {
			return with(also(PartARP, agent.Probe{Kind: agent.ARP, Target: ip}))
		}
	case OutsideToIngressHTTP, OutsideToIngressHTTPS:
		host, path, _ := strings.Cut(p.To.Name, "/")
		main.Probe.Host = host
		main.Probe.Target += path
		if w.Plan.Ingress.Service != "NodePort" && OnLink(w, p.From.Name, ip) {
			return with(also(PartARP, agent.Probe{Kind: agent.ARP, Target: ip}))
		}
	case OutsideToClusterIP:
		return with(control(w, p.From, w.Plan.Nodes()[0].Name))
	case OutsideToPod:
		return with(control(w, p.From, p.To.Node))
	}
	return with()
}

// PlainAsk is what a path that could not be asked would have asked, as far as is known.
func PlainAsk(w observe.Snapshot, p Row) Ask {
	target, _, err := w.Address(p.To, p.Protocol)
	if err != nil || target == "" {
		target = p.To.Name
	}
	return Ask{Part: PartMain, From: p.From, Probe: agent.Probe{Kind: p.Protocol, Target: p.Protocol + "://" + target + "/"}}
}

// control asks a Node itself, by the way that the path under test takes.
func control(w observe.Snapshot, from observe.Ref, node string) Ask {
	return Ask{Part: partControl, From: from, Probe: agent.Probe{Kind: agent.HTTP,
		Target: "http://" + observe.JoinPort(w.MachineIP(node), agent.PortHTTP) + "/"}}
}

// enough requests make it all but certain (1 in 10⁷ or better) that a fair choice misses
// none of n endpoints: n·(1-1/n)^(20n) < n·e⁻²⁰.
func enough(n int) int { return min(max(20*n, 4), 400) }

// headers of IPv4 and UDP, in bytes.
const headers = 28

// expectedPayload is the largest UDP payload between Pods of two Nodes: the MTU of the
// narrower of their networks, less what the CNI wraps around, less the headers.
func expectedPayload(w observe.Snapshot, a, b string) int {
	mtu := 0
	for _, name := range []string{a, b} {
		m, ok := w.Plan.Machine(name)
		if ok && (mtu == 0 || m.NICs[0].MTU < mtu) {
			mtu = m.NICs[0].MTU
		}
	}
	return mtu - w.Support.EncapOverhead - headers
}

// OnLink reports whether a host has a NIC on the network of an address, and so can ask
// for it by ARP.
func OnLink(w observe.Snapshot, host, ip string) bool {
	m, _ := w.Plan.Machine(host)
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, nic := range m.NICs {
		if nic.OnLink(addr) {
			return true
		}
	}
	return false
}

// Command is how a user makes the same probe by hand.
func Command(w observe.Snapshot, a Ask) string {
	words := a.Probe.Args()
	name := a.From.Name
	switch a.From.Kind {
	case report.AtHost:
		return shell.Join(append([]string{"netlab", "exec", w.Plan.Lab.String(), name, "--", "netlab"}, words...)...)
	case report.AtNode:
		name = workload.NodeAgent(name)
	}
	p, _ := w.Pods.Pod(name)
	prefix := []string{"netlab", "kubectl", w.Plan.Lab.String(), "--", "exec", "-n", p.Namespace, p.Name, "-c", "agent", "--", workload.AgentPath}
	return shell.Join(append(prefix, words...)...)
}
