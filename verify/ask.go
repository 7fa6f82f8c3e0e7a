package verify

import (
	"fmt"
	"net/netip"
	"strings"

	"netlab.dev/netlab/verify/agent"
)

// The parts that probes play in a path. Every path has a main one.
const (
	partMain    = "main"
	partControl = "control" // must be answered for the silence of main to mean anything
	partMTU     = "mtu"
	partBind    = "bind"
	partDNS     = "dns"
	partARP     = "arp"
)

// ask is one probe of a path.
type ask struct {
	Part  string
	From  Ref
	Probe agent.Probe
}

// asks turns a path into probes. Its error is unasked or absent.
func (w world) asks(p Path) ([]ask, error) {
	if _, err := w.station(p.From); err != nil {
		return nil, err
	}
	target, ip, err := w.address(p.To, p.Protocol)
	if err != nil {
		return nil, err
	}
	main := ask{Part: partMain, From: p.From, Probe: agent.Probe{Kind: p.Protocol, Target: p.Protocol + "://" + target + "/"}}
	with := func(more ...ask) ([]ask, error) { return append([]ask{main}, more...), nil }
	also := func(part string, probe agent.Probe) ask { return ask{Part: part, From: p.From, Probe: probe} }
	switch p.ID {
	case ContainerToContainer:
		return with(also(partBind, agent.Probe{Kind: agent.Bind, Target: itoa(secondPort)}))
	case PodToPodCrossNode:
		return with(also(partMTU, agent.Probe{Kind: agent.MTU, Target: joinPort(ip, agent.PortUDP),
			Hint: w.expectedPayload(p.From.Node, p.To.Node), TimeoutMillis: 3000}))
	case PodToClusterIP:
		main.Probe.Count, main.Probe.Parallel = enough(len(w.services[p.To.Name].Ready)), true
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
		if p.Expected == Unreachable {
			return with(w.control(p.From, p.To.Node))
		}
	case OutsideToLoadBalancer:
		main.Probe.Count, main.Probe.Parallel = 20, true
		if w.onLink(p.From.Name, ip) {
			return with(also(partARP, agent.Probe{Kind: agent.ARP, Target: ip}))
		}
	case OutsideToIngressHTTP, OutsideToIngressHTTPS:
		host, path, _ := strings.Cut(p.To.Name, "/")
		main.Probe.Host = host
		main.Probe.Target += path
		if w.plan.Ingress.Service != "NodePort" && w.onLink(p.From.Name, ip) {
			return with(also(partARP, agent.Probe{Kind: agent.ARP, Target: ip}))
		}
	case OutsideToClusterIP:
		return with(w.control(p.From, w.plan.Nodes()[0].Name))
	case OutsideToPod:
		return with(w.control(p.From, p.To.Node))
	}
	return with()
}

// plainAsk is what a path that could not be asked would have asked, as far as is known.
func (w world) plainAsk(p Path) ask {
	target, _, err := w.address(p.To, p.Protocol)
	if err != nil || target == "" {
		target = p.To.Name
	}
	return ask{Part: partMain, From: p.From, Probe: agent.Probe{Kind: p.Protocol, Target: p.Protocol + "://" + target + "/"}}
}

// control asks a Node itself, by the way that the path under test takes.
func (w world) control(from Ref, node string) ask {
	return ask{Part: partControl, From: from, Probe: agent.Probe{Kind: agent.HTTP,
		Target: "http://" + joinPort(w.machineIP(node), agent.PortHTTP) + "/"}}
}

// enough requests make it all but certain (1 in 10⁷ or better) that a fair choice misses
// none of n endpoints: n·(1-1/n)^(20n) < n·e⁻²⁰.
func enough(n int) int { return min(max(20*n, 4), 400) }

// headers of IPv4 and UDP, in bytes.
const headers = 28

// expectedPayload is the largest UDP payload between Pods of two Nodes: the MTU of the
// narrower of their networks, less what the CNI wraps around, less the headers.
func (w world) expectedPayload(a, b string) int {
	mtu := 0
	for _, name := range []string{a, b} {
		m, ok := w.plan.Machine(name)
		if ok && (mtu == 0 || m.NICs[0].MTU < mtu) {
			mtu = m.NICs[0].MTU
		}
	}
	return mtu - w.support.EncapOverhead - headers
}

// onLink reports whether a host has a NIC on the network of an address, and so can ask
// for it by ARP.
func (w world) onLink(host, ip string) bool {
	m, _ := w.plan.Machine(host)
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, nic := range m.NICs {
		if nic.Address.Contains(addr) {
			return true
		}
	}
	return false
}

// command is how a user makes the same probe by hand.
func (w world) command(a ask) string {
	words := a.Probe.Args()
	name := a.From.Name
	switch a.From.Kind {
	case AtHost:
		return quoted(append([]string{"netlab", "exec", w.plan.Lab.String(), name, "--", "netlab"}, words...))
	case AtNode:
		name = nodeAgent(name)
	}
	p, _ := w.cast.pod(name)
	prefix := []string{"netlab", "kubectl", w.plan.Lab.String(), "--", "exec", "-n", p.Namespace, p.Name, "-c", "agent", "--", agentPath}
	return quoted(append(prefix, words...))
}

// quoted joins words for a POSIX shell.
func quoted(words []string) string {
	out := make([]string, len(words))
	for i, word := range words {
		if word == "" || strings.ContainsAny(word, " \t\n'\"\\$`&|;<>()*?[]{}#~!") {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		out[i] = word
	}
	return strings.Join(out, " ")
}
