package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
)

// Way is what `netlab trace` was asked: one probe from one agent.
type Way struct {
	From string // agent Pod, Node or outside host
	To   string // Pod, Service, Node, host, address or URL
	Port int    // 0 for the target's own
}

// Traced is one probe and how its packets went. Its JSON is what `netlab trace` prints.
type Traced struct {
	Lab      string    `json:"lab"`
	From     End       `json:"from"`
	To       string    `json:"to"`
	Target   string    `json:"target"`   // URL or address that was asked
	Outcome  string    `json:"outcome"`  // reply, refused, timeout, unreachable, broken
	Answered string    `json:"answered"` // who answered, or why nobody did
	Micros   int64     `json:"micros"`   // until the answer
	Evidence *Evidence `json:"evidence,omitempty"`
	Command  string    `json:"command"`
}

// Trace makes one probe on a lab that runs, under capture.
func Trace(ctx context.Context, running providers.Running, o Options, way Way) (Traced, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, c, err := enter(ctx, running, o)
	if err != nil {
		return Traced{}, err
	}
	s := c.state()
	from, err := w.agentNamed(way.From)
	if err != nil {
		return Traced{}, err
	}
	probe, err := w.probeOf(s, from, way)
	if err != nil {
		return Traced{}, err
	}
	asker := newAsker(running.Machines)
	defer asker.close()
	t := newTracer(w, s, asker, o.Pcap)
	p := &probing{main: ask{Part: partMain, From: from, Probe: probe}, title: way.From + "-to-" + way.To}
	for _, pod := range w.cast.all() {
		p.pods = append(p.pods, pod.Name)
	}
	target := targetAddress(probe)
	if from.Kind == AtHost && w.onLink(from.Name, target) {
		p.before = []ask{{Part: partARP, From: from, Probe: agent.Probe{Kind: agent.ARP, Target: target}}}
	}
	if err := t.run(ctx, []*probing{p}); err != nil {
		return Traced{}, fmt.Errorf("trace %s: %w", running.Plan.Lab, err)
	}
	out := Traced{Lab: w.plan.Lab.String(), From: w.end(from, ""), To: way.To, Target: probe.Target, Outcome: p.result.Outcome,
		Answered: said(p.result), Evidence: p.evidence, Command: w.command(p.main)}
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
	return out, nil
}

// agentNamed finds who asks: a machine, or a Pod with an agent.
func (w world) agentNamed(name string) (Ref, error) {
	if m, ok := w.plan.Machine(name); ok {
		if m.Kind == topology.KindNode {
			return atNode(m), nil
		}
		return atHost(m), nil
	}
	short := strings.TrimPrefix(strings.TrimPrefix(name, Namespace+"/"), GuestsNamespace+"/")
	if p, ok := w.cast.pod(short); ok {
		if p.HostNetwork {
			return Ref{Kind: AtNode, Name: p.Node, Node: p.Node}, nil
		}
		return atPod(p), nil
	}
	return Ref{}, providers.WithHint(fmt.Errorf("no agent runs in %q", name), "a trace starts at one of: "+strings.Join(TraceFrom(w.plan), " "))
}

// TraceFrom names where a trace of a lab may start.
func TraceFrom(plan topology.Plan) []string {
	var out []string
	for _, m := range plan.Machines {
		out = append(out, m.Name)
	}
	for _, p := range castOf(plan).all() {
		if !p.HostNetwork {
			out = append(out, p.Name)
		}
	}
	return out
}

// TraceTo names ends of a trace that every lab of a plan has.
func TraceTo(plan topology.Plan) []string {
	out := TraceFrom(plan)
	for _, s := range serviceSpecs(plan) {
		out = append(out, s.Name)
	}
	return out
}

// probeOf turns what a user calls the far end into a probe. A URL is asked as it is, and
// all else for HTTP: what answers otherwise has answered.
func (w world) probeOf(s state, from Ref, way Way) (agent.Probe, error) {
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
	ip, own, err := w.far(s, from, host)
	if err != nil {
		return agent.Probe{}, err
	}
	if port == 0 {
		port = own
	}
	if port == 0 {
		return agent.Probe{}, providers.WithHint(fmt.Errorf("%s has no port of its own to ask", host), "give one with --port")
	}
	return agent.Probe{Kind: agent.HTTP, Target: "http://" + joinPort(ip, port) + "/"}, nil
}

func urlProbe(scheme, rest string, way Way) (agent.Probe, error) {
	kind := strings.ToLower(scheme)
	if !slices.Contains([]string{agent.HTTP, agent.HTTPS, agent.TCP, agent.UDP}, kind) {
		return agent.Probe{}, providers.WithHint(fmt.Errorf("no trace speaks %q", scheme), "it is http, https, tcp or udp")
	}
	if kind == agent.TCP || kind == agent.UDP {
		if way.Port != 0 {
			rest = joinPort(rest, way.Port)
		}
		return agent.Probe{Kind: kind, Target: rest}, nil
	}
	u, err := url.Parse(way.To)
	if err != nil {
		return agent.Probe{}, err
	}
	if way.Port != 0 {
		u.Host = joinPort(u.Hostname(), way.Port)
	}
	return agent.Probe{Kind: kind, Target: u.String()}, nil
}

// far finds the address of a far end by its name, and the port that it has of itself.
func (w world) far(s state, from Ref, name string) (ip string, port int, err error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		port := 0
		for _, x := range s.Services {
			if (x.Spec.ClusterIP == name || vipOf(x) == name) && len(x.Spec.Ports) > 0 {
				port = int(x.Spec.Ports[0].Port)
			}
		}
		if _, known := w.ownerOf(addr); known {
			port = agent.PortHTTP
		}
		return name, port, nil
	}
	if _, ok := w.plan.Machine(name); ok {
		return w.machineIP(name), agent.PortHTTP, nil
	}
	namespace, short, qualified := strings.Cut(name, "/")
	if !qualified {
		namespace, short = "", name
	}
	in := func(ns string) bool { return namespace == "" || namespace == ns }
	ours := func(ns string) bool { return ns == Namespace || ns == GuestsNamespace }
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
			own = agent.PortHTTP
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
		consider(x.Namespace, x.Name, ours(x.Namespace), w.serviceAddress(x, from), own)
	}
	if len(found) > 1 && !slices.ContainsFunc(found, func(f string) bool { ns, _, _ := strings.Cut(f, "/"); return ours(ns) }) {
		return "", 0, providers.WithHint(fmt.Errorf("there are several %s", name), "name one of: "+strings.Join(found, " "))
	}
	if ip != "" {
		return ip, port, nil
	}
	if strings.Contains(name, ".") {
		return name, 80, nil // a DNS name
	}
	return "", 0, providers.WithHint(fmt.Errorf("the lab has no machine, Pod or Service %q", name),
		"there are, beside any NAMESPACE/NAME, address or URL: "+strings.Join(TraceTo(w.plan), " "))
}

// serviceAddress is where a Service is asked from: its VIP from outside, if it has one.
func (w world) serviceAddress(x *corev1.Service, from Ref) string {
	if vip := vipOf(x); vip != "" && from.Kind == AtHost {
		return vip
	}
	if x.Spec.ClusterIP == corev1.ClusterIPNone {
		return x.Name + "." + x.Namespace + ".svc." + w.plan.Kubernetes.Domain
	}
	return x.Spec.ClusterIP
}

// ownerOf finds the machine or agent Pod with an address.
func (w world) ownerOf(addr netip.Addr) (string, bool) {
	for _, m := range w.plan.Machines {
		for _, nic := range m.NICs {
			if nic.Address.Addr() == addr {
				return m.Name, true
			}
		}
	}
	for name, ip := range w.podIPs {
		if ip == addr.String() {
			return name, true
		}
	}
	return "", false
}

// targetAddress is the bare address that a probe goes to, "" where that is a name's.
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

// WriteText writes a trace for a terminal of 100 columns.
func (t Traced) WriteText(out io.Writer) error {
	answer := "no answer: " + t.Answered
	if t.Outcome == agent.Reply {
		answer = fmt.Sprintf("answered by %s in %s", t.Answered, (time.Duration(t.Micros) * time.Microsecond).Round(10*time.Microsecond))
	}
	if _, err := fmt.Fprintf(out, "%s: %s → %s (%s)\n%s\n\n", t.Lab, t.From.Name, t.To, t.Target, answer); err != nil {
		return err
	}
	if t.Evidence == nil {
		return errors.New("nothing was captured")
	}
	for _, line := range t.Evidence.Lines(width) {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes a trace for other tools.
func (t Traced) WriteJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(t)
}
