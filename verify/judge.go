package verify

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"netlab.dev/netlab/verify/agent"
)

// finding is what the answers to a path's probes amount to.
type finding struct {
	Outcome    string
	Reason     string
	Observed   Observed
	Properties []Property
	Throughput *Figure
	Latency    *Latency
	nodes      []string // Nodes that packets of the path did or should have touched
}

func (f finding) failed() bool { return f.Outcome == Fail || f.Outcome == Broken }

func (f *finding) property(name, expected, observed string, ok bool) {
	f.Properties = append(f.Properties, Property{Name: name, Expected: expected, Observed: observed, OK: ok})
	if !ok && f.Outcome == Pass {
		f.Outcome, f.Reason = Fail, fmt.Sprintf("%s: expected %s, observed %s", name, expected, observed)
	}
}

// step asserts what was asked at one step of a policy.
func (f *finding) step(s Step, name, expected, observed string, ok bool) {
	f.property(name, expected, observed, ok)
	f.Properties[len(f.Properties)-1].Step = s
}

// within asserts that something took at most so long.
func (f *finding) within(name string, bound, took time.Duration) {
	f.property(name, fmt.Sprintf("at most %g", bound.Seconds()), fmt.Sprintf("%.1f", took.Seconds()), took <= bound)
}

// equal asserts that a property has one value.
func (f *finding) equal(name, expected, observed string) {
	f.property(name, expected, or(observed, "nothing"), expected == observed)
}

// judge holds the answers, by part, against what the path expects.
func (w world) judge(p Path, got map[string]agent.Result) finding {
	f := finding{Outcome: Pass, nodes: w.nodesOf(p)}
	main := got[partMain]
	for _, part := range []string{partMain, partControl, partMTU, partBind, partDNS, partARP} {
		if r, asked := got[part]; asked && r.Outcome == agent.Broken {
			f.Outcome, f.Reason = Broken, "the probe could not run: "+r.Error
			return f
		}
	}
	if p.Expected == Unreachable {
		w.judgeSilence(&f, p, main, got[partControl])
		return f
	}
	if main.Outcome != agent.Reply {
		f.Outcome, f.Reason = Fail, said(main)
	} else {
		w.judgeReply(&f, p, main)
	}
	if vip := w.vip(p); vip != "" {
		addr, err := netip.ParseAddr(vip)
		f.property("VIP in the pool", poolText(w.plan), vip, err == nil && w.plan.LoadBalancer.Contains(addr))
		if arp, asked := got[partARP]; asked {
			w.judgeARP(&f, p, vip, arp)
		}
	}
	if main.Outcome != agent.Reply {
		return f
	}
	switch p.ID {
	case ContainerToContainer:
		f.property("port space", "a second bind is refused", said(got[partBind]), got[partBind].Outcome == agent.Refused)
	case PodToPodCrossNode:
		mtu := got[partMTU]
		observed := said(mtu)
		if mtu.Outcome == agent.Reply {
			observed = payloadText(mtu.Answers[0].Payload)
		}
		f.equal("largest unfragmented payload", payloadText(w.expectedPayload(p.From.Node, p.To.Node)), observed)
	case PodToHeadless:
		var ips []string
		for _, name := range w.services[p.To.Name].Ready {
			ips = append(ips, w.podIPs[name])
		}
		slices.Sort(ips)
		f.equal("A records", strings.Join(ips, " "), dnsValues(got[partDNS], "A"))
	case PodToExternalName:
		f.equal("CNAME", outsideName(w.plan)+".", dnsValues(got[partDNS], "CNAME"))
	}
	return f
}

func payloadText(n int) string { return fmt.Sprintf("%d bytes of UDP", n) }

// judgeSilence: nothing may answer, and the control shows that something could have.
func (w world) judgeSilence(f *finding, p Path, main, control agent.Result) {
	switch {
	case main.Outcome == agent.Reply:
		f.Outcome, f.Reason = Fail, "it answered, though it should be unreachable"
		if len(main.Answers) > 0 && main.Answers[0].Seen != nil {
			seen := main.Answers[0].Seen
			f.Observed = Observed{SourceIP: seen.Remote, Backend: seen.Name, Node: seen.Node, RTTMicros: medianRTT(main)}
		}
	case control.Outcome != agent.Reply:
		f.Outcome = Broken
		f.Reason = fmt.Sprintf("%s reaches nothing of the cluster (the control probe: %s), so its silence proves nothing", p.From.Name, said(control))
	}
	f.Properties = append(f.Properties, Property{Name: "answer", Expected: "none", Observed: said(main), OK: f.Outcome == Pass})
}

// judgeReply checks who answered, and whom the far end saw.
func (w world) judgeReply(f *finding, p Path, main agent.Result) {
	f.Observed.RTTMicros = medianRTT(main)
	if p.Protocol == agent.DNS {
		w.judgeRecords(f, p, main)
		return
	}
	silent := 0
	sources, backends := map[string]bool{}, map[string]bool{}
	var wrong []string // answers whose source is not as expected
	for _, a := range main.Answers {
		if a.Outcome != agent.Reply {
			silent++
			continue
		}
		if host, _, ok := strings.Cut(p.To.Name, "/"); p.To.Kind == AtIngress && ok && host == unknownHost {
			f.equal("status for an unknown host", "404", itoa(a.Status))
			return
		}
		if a.Status != http.StatusOK || a.Seen == nil {
			f.Outcome, f.Reason = Fail, fmt.Sprintf("HTTP status %d, and no agent behind it", a.Status)
			return
		}
		backends[a.Seen.Name] = true
		if p.To.Kind == AtIngress {
			continue // a proxy: the backend sees the controller
		}
		sources[a.Seen.Remote] = true
		if _, ok := w.source(p, a.Seen.Remote, a.Seen.Name); !ok {
			wrong = append(wrong, a.Seen.Remote)
		}
	}
	names := sorted(backends)
	f.Observed.Backend, f.Observed.SourceIP = strings.Join(names, ","), strings.Join(sorted(sources), ",")
	f.Observed.Node = w.nodesText(names)
	if silent > 0 {
		last := main.Answers[len(main.Answers)-1]
		for _, a := range main.Answers {
			if a.Outcome != agent.Reply {
				last = a
			}
		}
		f.Outcome, f.Reason = Fail, fmt.Sprintf("%d of %d requests failed: %s", silent, len(main.Answers), said(agent.Result{Outcome: last.Outcome, Error: last.Error}))
	}
	w.judgeBackends(f, p, names)
	if want, _ := w.source(p, "", ""); want != "" {
		observed := f.Observed.SourceIP
		if len(wrong) > 0 {
			slices.Sort(wrong)
			observed = strings.Join(slices.Compact(wrong), " ")
		}
		f.property("source seen", want, observed, len(wrong) == 0)
	}
	if p.Protocol == agent.HTTPS {
		w.judgeCertificate(f, main)
	}
}

// judgeBackends: the answer came from who should give it; through a Service that chooses,
// from every one of its endpoints.
func (w world) judgeBackends(f *finding, p Path, names []string) {
	var want []string
	all := false
	switch p.To.Kind {
	case AtPod, AtContainer:
		want = []string{p.To.Name}
	case AtNode:
		want = []string{nodeAgent(p.To.Name)}
	case AtHost:
		want = []string{p.To.Name}
	case AtIngress:
		for _, r := range ingressRoutes() {
			if r.Host+r.Path == p.To.Name {
				want = w.services[r.Service].Ready
			}
		}
	case AtName:
		want = w.services[p.To.Name].Ready
		if p.ID == PodToExternalName {
			want = []string{strings.TrimSuffix(outsideName(w.plan), ".outside.test")}
		}
	default:
		want = w.services[p.To.Name].Ready
		all = p.ID == PodToClusterIP
	}
	var missing, strangers []string
	for _, n := range want {
		if !slices.Contains(names, n) {
			missing = append(missing, n)
		}
	}
	for _, n := range names {
		if !slices.Contains(want, n) {
			strangers = append(strangers, n)
		}
	}
	label := "backend"
	if all {
		label = "every ready endpoint answers"
	}
	ok := len(strangers) == 0 && (len(missing) == 0 || !all)
	if all && len(missing) > 0 && f.Outcome == Fail {
		f.Reason += fmt.Sprintf("; no answer from %s", strings.Join(missing, " "))
	}
	expected := strings.Join(want, " ")
	if !all && len(want) > 1 {
		expected = "one of " + expected
	}
	f.property(label, expected, or(strings.Join(names, " "), "nothing"), ok)
}

// source tells whom the far end should take the client for ("" where nothing is asserted)
// and whether it did.
func (w world) source(p Path, seen, backend string) (want string, ok bool) {
	client := w.podIPs[p.From.Name]
	if p.From.Kind == AtHost {
		client = w.hostIPTowards(p)
	}
	oneOf := func(text string, also func(string) bool) (string, bool) {
		return text, seen == client || also(seen)
	}
	switch p.ID {
	case ContainerToContainer:
		return "127.0.0.1", seen == "127.0.0.1"
	case PodToPodSameNode, PodToPodCrossNode, PodToHeadless, OutsideToPod:
		return client + " (no NAT)", seen == client
	case PodToClusterIP:
		// A Pod that the Service leads back to itself sees a rewritten source: it could not
		// answer itself otherwise.
		return client + " (no NAT)", seen == client || backend == p.From.Name
	case PodToOutside, PodToExternalName:
		node, _ := w.plan.Machine(p.From.Node)
		target, _ := outsideTarget(w.plan)
		want := egressIP(node, target.Address())
		return want + " (" + node.Name + ")", seen == want
	case PodToNodePort:
		if p.To.Name == ServiceNodePortLocal {
			// On its way to a Node's address a Pod may leave as its own Node.
			own := w.machineIP(p.From.Node)
			return fmt.Sprintf("%s or its Node's %s", client, own), seen == client || seen == own || w.ownEnd(seen, p.From.Node)
		}
		return oneOf(client+" or a Node's", w.nodeSide)
	case OutsideToNodePort, OutsideToLoadBalancer:
		if p.To.Name == ServiceNodePortLocal || p.To.Name == ServiceLBLocal {
			return client + " (kept)", seen == client
		}
		return oneOf(client+" or a Node's", w.nodeSide)
	}
	return "", true
}

// ownEnd reports whether an address is a Node's own end of its part of the Pod network.
func (w world) ownEnd(ip, node string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && !w.foreign[ip] && w.podCIDRs[node].IsValid() && w.podCIDRs[node].Contains(addr)
}

// hostIPTowards is the address that an outside host has on the network of a path's far
// end, else on its first.
func (w world) hostIPTowards(p Path) string {
	m, _ := w.plan.Machine(p.From.Name)
	_, ip, err := w.address(p.To, p.Protocol)
	addr, parse := netip.ParseAddr(ip)
	if err != nil || parse != nil {
		return m.Address().String()
	}
	return egressIP(m, addr)
}

func (w world) judgeRecords(f *finding, p Path, main agent.Result) {
	answer := main.Answers[0].DNS
	if answer == nil {
		f.Outcome, f.Reason = Fail, "no DNS answer"
		return
	}
	f.Observed.Backend = answer.Server
	want, name := "", p.To.Name+"."
	if p.ID == DNSService {
		want = w.services[p.To.Name].ClusterIP
		name = p.To.Name + "." + Namespace + ".svc." + w.plan.Kubernetes.Domain + "."
	} else {
		want = w.plan.Names[p.To.Name]
		if want == "" {
			want = w.plan.Names[name]
		}
	}
	observed := strings.Join(answer.Values("A"), " ")
	if observed == "" {
		observed = answer.Code
	}
	f.equal("name found", name, answer.Name)
	f.equal("A record", want, observed)
}

func (w world) judgeCertificate(f *finding, main agent.Result) {
	c := main.Answers[0].Certificate
	if c == nil {
		f.property("certificate", "the Ingress's own", "none", false)
		return
	}
	f.property("certificate", "for "+strings.Join(ingressHosts(), " "), "for "+strings.Join(c.DNSNames, " "), c.SHA256 == w.leaf)
}

// vip is the VIP that a path goes to, "" for none.
func (w world) vip(p Path) string {
	switch {
	case p.To.Kind == AtVIP:
		return w.services[p.To.Name].VIP
	case p.To.Kind == AtIngress && w.plan.Ingress.Service != "NodePort":
		return w.ingress.VIP
	}
	return ""
}

// judgeARP: exactly one station answers for the VIP, and it is a Node; under Local one
// with an endpoint. A reply that only an old ARP entry made possible does not hide that
// nobody announces the VIP any more.
func (w world) judgeARP(f *finding, p Path, vip string, arp agent.Result) {
	if arp.Outcome != agent.Reply {
		f.property("owner of the VIP", "a Node", "nobody answers ARP for "+vip, false)
		return
	}
	var owners []string
	nodes := true
	for _, mac := range arp.Answers[0].MACs {
		owner := w.nicOwner(mac)
		m, _ := w.plan.Machine(owner)
		nodes = nodes && m.Kind == "node"
		owners = append(owners, or(owner, "unknown station "+mac))
	}
	want := "one Node"
	if p.To.Name == ServiceLBLocal {
		want = "a Node with an endpoint"
		for _, o := range owners {
			nodes = nodes && slices.ContainsFunc(w.services[p.To.Name].Ready, func(pod string) bool { return w.nodeOfPod(pod) == o })
		}
	}
	for _, o := range owners {
		if !slices.Contains(f.nodes, o) {
			f.nodes = append(f.nodes, o)
		}
	}
	f.property("owner of the VIP", want, strings.Join(owners, " and "), nodes && len(owners) == 1)
}
