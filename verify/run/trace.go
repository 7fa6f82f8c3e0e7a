package run

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// TraceRequest is the request of `netlab trace`: one probe from one agent.
type TraceRequest struct {
	From string // agent Pod, Node or outside host
	To   string // Pod, Service, Node, host, address or URL
	Port int    // 0 for the target's default
}

// Trace makes one probe in a running lab, under capture.
func Trace(ctx context.Context, running providers.Running, o Options, way TraceRequest) (report.Traced, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, c, err := enter(ctx, running, o)
	if err != nil {
		return report.Traced{}, err
	}
	s := c.State()
	from, err := agentNamed(w, way.From)
	if err != nil {
		return report.Traced{}, err
	}
	probe, err := probeOf(w, s, from, way)
	if err != nil {
		return report.Traced{}, err
	}
	agents := newClient(running)
	defer agents.close()
	t := newTracer(w, s, agents, o.Pcap)
	p := &probing{main: checks.Ask{Part: checks.PartMain, From: from, Probe: probe}, title: way.From + "-to-" + way.To}
	for _, pod := range w.Pods.All() {
		p.pods = append(p.pods, pod.Name)
	}
	p.before = checks.ARPFor(w, from, targetAddress(probe))
	if err := t.run(ctx, []*probing{p}); err != nil {
		return report.Traced{}, fmt.Errorf("trace %s: %w", running.Plan.Lab, err)
	}
	out := report.Traced{Lab: w.Plan.Lab.String(), From: endOf(w, from, from, ""), To: way.To, Target: probe.Target, Outcome: p.result.Outcome,
		Answered: checks.Said(p.result), Evidence: p.evidence, Command: checks.Command(w, p.main)}
	if len(p.result.Answers) > 0 {
		a := p.result.Answers[0]
		out.Micros = a.RTTMicros
		switch {
		case a.Seen != nil:
			out.Answered = a.Seen.Name
		case a.Status != 0:
			out.Answered = fmt.Sprintf("HTTP status %d", a.Status)
		}
	}
	if out.Outcome != agent.Reply {
		out.Answered = observe.Join(out.Answered, cmp.Or(w.Away[cmp.Or(from.Node, from.Name)], w.Away[nodeNamed(w, way.To)]))
	}
	out.Escape()
	return out, nil
}

// nodeNamed returns the machine that a far end is, or that its agent Pod runs on.
func nodeNamed(w observe.Snapshot, name string) string {
	short := strings.TrimPrefix(strings.TrimPrefix(name, workload.Namespace+"/"), workload.GuestsNamespace+"/")
	return cmp.Or(w.NodeOfPod(short), name)
}

// agentNamed finds the client: a machine, or a Pod with an agent.
func agentNamed(w observe.Snapshot, name string) (observe.Ref, error) {
	if m, ok := w.Plan.Machine(name); ok {
		if m.Kind == topology.KindNode {
			return observe.AtNode(m), nil
		}
		return observe.AtHost(m), nil
	}
	short := strings.TrimPrefix(strings.TrimPrefix(name, workload.Namespace+"/"), workload.GuestsNamespace+"/")
	if p, ok := w.Pods.Pod(short); ok {
		if p.HostNetwork {
			return observe.Ref{Kind: report.AtNode, Name: p.Node, Node: p.Node}, nil
		}
		return observe.AtPod(p), nil
	}
	return observe.Ref{}, hint.With(fmt.Errorf("%q has no agent", name), "a trace starts at one of: "+strings.Join(TraceFrom(w.Plan), " "))
}

// TraceFrom lists where a trace of a lab may start.
func TraceFrom(plan topology.Plan) []string {
	var out []string
	for _, m := range plan.Machines {
		out = append(out, m.Name)
	}
	for _, p := range checks.Pods(plan).All() {
		if !p.HostNetwork {
			out = append(out, p.Name)
		}
	}
	return out
}

// TraceTo lists destinations of a trace that every lab of a plan has.
func TraceTo(plan topology.Plan) []string {
	out := TraceFrom(plan)
	for _, s := range workload.ServiceSpecs(plan) {
		out = append(out, s.Name)
	}
	return out
}

// probeOf is the probe for a destination as the user names it. A URL is requested as it is,
// everything else over HTTP: any answer counts.
func probeOf(w observe.Snapshot, s observe.State, from observe.Ref, way TraceRequest) (agent.Probe, error) {
	if scheme, rest, ok := strings.Cut(way.To, "://"); ok {
		return urlProbe(scheme, rest, way)
	}
	host, portText, err := net.SplitHostPort(way.To)
	port := way.Port
	if err != nil {
		host = way.To
	} else if n, err := strconv.Atoi(portText); err == nil && port == 0 {
		port = n
	}
	ip, own, err := destination(w, s, from, host)
	if err != nil {
		return agent.Probe{}, err
	}
	if port == 0 {
		port = own
	}
	if port == 0 {
		return agent.Probe{}, hint.With(fmt.Errorf("%s has no default port", host), "set one with --port")
	}
	return agent.Probe{Kind: agent.HTTP, Target: "http://" + observe.JoinPort(ip, port) + "/"}, nil
}

func urlProbe(scheme, rest string, way TraceRequest) (agent.Probe, error) {
	kind := strings.ToLower(scheme)
	if !slices.Contains([]string{agent.HTTP, agent.HTTPS, agent.TCP, agent.UDP}, kind) {
		return agent.Probe{}, hint.With(fmt.Errorf("scheme %q is not supported", scheme), "use http, https, tcp or udp")
	}
	if kind == agent.TCP || kind == agent.UDP {
		if way.Port != 0 {
			rest = observe.JoinPort(rest, way.Port)
		}
		return agent.Probe{Kind: kind, Target: rest}, nil
	}
	u, err := url.Parse(way.To)
	if err != nil {
		return agent.Probe{}, err
	}
	if way.Port != 0 {
		u.Host = observe.JoinPort(u.Hostname(), way.Port)
	}
	return agent.Probe{Kind: kind, Target: u.String()}, nil
}

// destination finds an address by the name of its owner, and the owner's default port.
func destination(w observe.Snapshot, s observe.State, from observe.Ref, name string) (ip string, port int, err error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		port := 0
		for _, x := range s.Services {
			if (x.Spec.ClusterIP == name || observe.VIPOf(x) == name) && len(x.Spec.Ports) > 0 {
				port = int(x.Spec.Ports[0].Port)
			}
		}
		if owner, known := ownerOf(w, addr); known {
			port = agentPort(w, owner)
		}
		return name, port, nil
	}
	if _, ok := w.Plan.Machine(name); ok {
		return w.Toward(from, name), agentPort(w, name), nil
	}
	namespace, short, qualified := strings.Cut(name, "/")
	if !qualified {
		namespace, short = "", name
	}
	in := func(ns string) bool { return namespace == "" || namespace == ns }
	ours := func(ns string) bool { return ns == workload.Namespace || ns == workload.GuestsNamespace }
	var found []string
	consider := func(ns, n string, better bool, address string, p int) {
		if n != short || !in(ns) || address == "" {
			return
		}
		found = append(found, ns+"/"+n)
		if ip == "" || better {
			ip, port = address, p
		}
	}
	for _, p := range s.Pods {
		own := 0
		if ours(p.Namespace) {
			own = agentPort(w, p.Name)
		} else if c := p.Spec.Containers; len(c) > 0 && len(c[0].Ports) > 0 {
			own = int(c[0].Ports[0].ContainerPort)
		}
		consider(p.Namespace, p.Name, ours(p.Namespace), p.Status.PodIP, own)
	}
	for _, x := range s.Services {
		own := 0
		if len(x.Spec.Ports) > 0 {
			own = int(x.Spec.Ports[0].Port)
		}
		consider(x.Namespace, x.Name, ours(x.Namespace), serviceAddress(w, x, from), own)
	}
	if len(found) > 1 && !slices.ContainsFunc(found, func(f string) bool { ns, _, _ := strings.Cut(f, "/"); return ours(ns) }) {
		return "", 0, hint.With(fmt.Errorf("%s is ambiguous", name), "use one of: "+strings.Join(found, " "))
	}
	if ip != "" {
		return ip, port, nil
	}
	if strings.Contains(name, ".") {
		return name, 80, nil // a DNS name
	}
	return "", 0, hint.With(fmt.Errorf("the lab has no machine, Pod or Service %q", name),
		"use a NAMESPACE/NAME, an address, a URL, or one of: "+strings.Join(TraceTo(w.Plan), " "))
}

// agentPort is the HTTP port of the agent of a machine or agent Pod.
func agentPort(w observe.Snapshot, name string) int {
	m, isMachine := w.Plan.Machine(name)
	p, _ := w.Pods.Pod(name)
	if p.HostNetwork || isMachine && m.Kind == topology.KindNode {
		return agent.HostNetworkHTTP
	}
	return agent.PortHTTP
}

// serviceAddress is the address of a Service for a client: from outside its VIP, if it has
// one.
func serviceAddress(w observe.Snapshot, x *corev1.Service, from observe.Ref) string {
	if vip := observe.VIPOf(x); vip != "" && from.Kind == report.AtHost {
		return vip
	}
	if x.Spec.ClusterIP == corev1.ClusterIPNone {
		return x.Name + "." + x.Namespace + ".svc." + w.Plan.Kubernetes.Domain
	}
	return x.Spec.ClusterIP
}

// ownerOf finds the machine or agent Pod with an address.
func ownerOf(w observe.Snapshot, addr netip.Addr) (string, bool) {
	for _, m := range w.Plan.Machines {
		for _, nic := range m.NICs {
			if nic.Has(addr) {
				return m.Name, true
			}
		}
	}
	for name, ip := range w.PodIPs {
		if ip == addr.String() {
			return name, true
		}
	}
	return "", false
}

// targetAddress is the bare address of a probe's target, "" where the target is a name.
func targetAddress(p agent.Probe) string {
	host := p.Target
	if u, err := url.Parse(p.Target); err == nil && u.Host != "" {
		host = u.Hostname()
	} else if h, _, err := net.SplitHostPort(p.Target); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return ""
	}
	return host
}
