package checks

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Finding is what the answers to a path's probes amount to.
type Finding struct {
	Outcome    string
	Reason     string
	Observed   report.Observed
	Properties []report.Property
	Throughput *report.Figure
	Latency    *report.Latency
	Nodes      []string // Nodes that packets of the path did or should have touched
}

// Judged is a path with what was found of it.
type Judged struct {
	Row     Row
	Finding Finding
}

func (f Finding) Failed() bool { return f.Outcome == report.Fail || f.Outcome == report.Broken }

func (f *Finding) Assert(name, expected, observed string, ok bool) {
	f.Properties = append(f.Properties, report.Property{Name: name, Expected: expected, Observed: observed, OK: ok})
	if !ok && f.Outcome == report.Pass {
		f.Outcome, f.Reason = report.Fail, fmt.Sprintf("%s: expected %s, observed %s", name, expected, observed)
	}
}

// AssertStep asserts what was asked at one step of a policy.
func (f *Finding) AssertStep(s report.Step, name, expected, observed string, ok bool) {
	f.Assert(name, expected, observed, ok)
	f.Properties[len(f.Properties)-1].Step = s
}

// Within asserts that something took at most so long.
func (f *Finding) Within(name string, bound, took time.Duration) {
	f.Assert(name, fmt.Sprintf("at most %g", bound.Seconds()), fmt.Sprintf("%.1f", took.Seconds()), took <= bound)
}

// Equal asserts that a property has one value.
func (f *Finding) Equal(name, expected, observed string) {
	f.Assert(name, expected, cmp.Or(observed, "nothing"), expected == observed)
}

// Judge holds the answers, by part, against what the path expects.
func Judge(w observe.Snapshot, p Row, got map[string]agent.Result) Finding {
	f := Finding{Outcome: report.Pass, Nodes: NodesOf(w, p)}
	main := got[PartMain]
	for _, part := range []string{PartMain, partControl, partMTU, partBind, partDNS, PartARP} {
		if r, asked := got[part]; asked && r.Outcome == agent.Broken {
			f.Outcome, f.Reason = report.Broken, "the probe could not run: "+r.Error
			return f
		}
	}
	if p.Expected == report.Unreachable {
		judgeSilence(w, &f, p, main, got[partControl])
		return f
	}
	if main.Outcome != agent.Reply {
		f.Outcome, f.Reason = report.Fail, Said(main)
	} else {
		judgeReply(w, &f, p, main)
	}
	if vip := vip(w, p); vip != "" {
		addr, err := netip.ParseAddr(vip)
		f.Assert("VIP in the pool", PoolText(w.Plan), vip, err == nil && w.Plan.LoadBalancer.Contains(addr))
		if arp, asked := got[PartARP]; asked {
			judgeARP(w, &f, p, vip, arp)
		}
	}
	if main.Outcome != agent.Reply {
		return f
	}
	switch p.ID {
	case ContainerToContainer:
		f.Assert("port space", "a second bind is refused", Said(got[partBind]), got[partBind].Outcome == agent.Refused)
	case PodToPodCrossNode:
		mtu := got[partMTU]
		observed := Said(mtu)
		if mtu.Outcome == agent.Reply {
			observed = payloadText(mtu.Answers[0].Payload)
		}
		f.Equal("largest unfragmented payload", payloadText(expectedPayload(w, p.From.Node, p.To.Node)), observed)
	case PodToHeadless:
		var ips []string
		for _, name := range w.Services[p.To.Name].Ready {
			ips = append(ips, w.PodIPs[name])
		}
		slices.Sort(ips)
		f.Equal("A records", strings.Join(ips, " "), dnsValues(got[partDNS], "A"))
	case PodToExternalName:
		f.Equal("CNAME", workload.OutsideName(w.Plan)+".", dnsValues(got[partDNS], "CNAME"))
	}
	return f
}

func payloadText(n int) string { return fmt.Sprintf("%d bytes of UDP", n) }

// judgeSilence: nothing may answer, and the control shows that something could have.
func judgeSilence(w observe.Snapshot, f *Finding, p Row, main, control agent.Result) {
	switch {
	case main.Outcome == agent.Reply:
		f.Outcome, f.Reason = report.Fail, "it answered, though it should be unreachable"
		if len(main.Answers) > 0 && main.Answers[0].Seen != nil {
			seen := main.Answers[0].Seen
			f.Observed = report.Observed{SourceIP: seen.Remote, Backend: seen.Name, Node: seen.Node, RTTMicros: MedianRTT(main)}
		}
	case control.Outcome != agent.Reply:
		f.Outcome = report.Broken
		f.Reason = fmt.Sprintf("%s reaches nothing of the cluster (the control probe: %s), so its silence proves nothing", p.From.Name, Said(control))
	}
	f.Properties = append(f.Properties, report.Property{Name: "answer", Expected: "none", Observed: Said(main), OK: f.Outcome == report.Pass})
}

// judgeReply checks who answered, and whom the far end saw.
func judgeReply(w observe.Snapshot, f *Finding, p Row, main agent.Result) {
	f.Observed.RTTMicros = MedianRTT(main)
	if p.Protocol == agent.DNS {
		judgeRecords(w, f, p, main)
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
		if host, _, ok := strings.Cut(p.To.Name, "/"); p.To.Kind == report.AtIngress && ok && host == workload.UnknownHost {
			f.Equal("status for an unknown host", "404", strconv.Itoa(a.Status))
			return
		}
		if a.Status != http.StatusOK || a.Seen == nil {
			f.Outcome, f.Reason = report.Fail, fmt.Sprintf("HTTP status %d, and no agent behind it", a.Status)
			return
		}
		backends[a.Seen.Name] = true
		if p.To.Kind == report.AtIngress {
			continue // a proxy: the backend sees the controller
		}
		sources[a.Seen.Remote] = true
		if _, ok := source(w, p, a.Seen.Remote, a.Seen.Name); !ok {
			wrong = append(wrong, a.Seen.Remote)
		}
	}
	names := sorted(backends)
	f.Observed.Backend, f.Observed.SourceIP = strings.Join(names, ","), strings.Join(sorted(sources), ",")
	f.Observed.Node = nodesText(w, names)
	if silent > 0 {
		last := main.Answers[len(main.Answers)-1]
		for _, a := range main.Answers {
			if a.Outcome != agent.Reply {
				last = a
			}
		}
		f.Outcome, f.Reason = report.Fail, fmt.Sprintf("%d of %d requests failed: %s", silent, len(main.Answers), Said(agent.Result{Outcome: last.Outcome, Error: last.Error}))
	}
	judgeBackends(w, f, p, names)
	if want, _ := source(w, p, "", ""); want != "" {
		observed := f.Observed.SourceIP
		if len(wrong) > 0 {
			slices.Sort(wrong)
			observed = strings.Join(slices.Compact(wrong), " ")
		}
		f.Assert("source seen", want, observed, len(wrong) == 0)
	}
	if p.Protocol == agent.HTTPS {
		judgeCertificate(w, f, main)
	}
}

// judgeBackends: the answer came from who should give it; through a Service that chooses,
// from every one of its endpoints.
func judgeBackends(w observe.Snapshot, f *Finding, p Row, names []string) {
	var want []string
	all := false
	switch p.To.Kind {
	case report.AtPod, report.AtContainer:
		want = []string{p.To.Name}
	case report.AtNode:
		want = []string{workload.NodeAgent(p.To.Name)}
	case report.AtHost:
		want = []string{p.To.Name}
	case report.AtIngress:
		for _, r := range workload.IngressRoutes() {
			if r.Host+r.Path == p.To.Name {
				want = w.Services[r.Service].Ready
			}
		}
	case report.AtName:
		want = w.Services[p.To.Name].Ready
		if p.ID == PodToExternalName {
			want = []string{strings.TrimSuffix(workload.OutsideName(w.Plan), ".outside.test")}
		}
	default:
		want = w.Services[p.To.Name].Ready
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
	if all && len(missing) > 0 && f.Outcome == report.Fail {
		f.Reason += fmt.Sprintf("; no answer from %s", strings.Join(missing, " "))
	}
	expected := strings.Join(want, " ")
	if !all && len(want) > 1 {
		expected = "one of " + expected
	}
	f.Assert(label, expected, cmp.Or(strings.Join(names, " "), "nothing"), ok)
}

// source tells whom the far end should take the client for ("" where nothing is asserted)
// and whether it did.
func source(w observe.Snapshot, p Row, seen, backend string) (want string, ok bool) {
	client := w.PodIPs[p.From.Name]
	if p.From.Kind == report.AtHost {
		client = hostIPTowards(w, p)
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
		node, _ := w.Plan.Machine(p.From.Node)
		target, _ := observe.OutsideTarget(w.Plan)
		want := observe.EgressIP(node, target.Address())
		return want + " (" + node.Name + ")", seen == want
	case PodToNodePort:
		if p.To.Name == workload.ServiceNodePortLocal {
			// On its way to a Node's address a Pod may leave as its own Node.
			own := w.MachineIP(p.From.Node)
			return fmt.Sprintf("%s or its Node's %s", client, own), seen == client || seen == own || ownEnd(w, seen, p.From.Node)
		}
		return oneOf(client+" or a Node's", w.NodeSide)
	case OutsideToNodePort, OutsideToLoadBalancer:
		if p.To.Name == workload.ServiceNodePortLocal || p.To.Name == workload.ServiceLBLocal {
			return client + " (kept)", seen == client
		}
		return oneOf(client+" or a Node's", w.NodeSide)
	}
	return "", true
}

// ownEnd reports whether an address is a Node's own end of its part of the Pod network.
func ownEnd(w observe.Snapshot, ip, node string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && !w.Foreign[ip] && w.PodCIDRs[node].IsValid() && w.PodCIDRs[node].Contains(addr)
}

// hostIPTowards is the address that an outside host has on the network of a path's far
// end, else on its first.
func hostIPTowards(w observe.Snapshot, p Row) string {
	m, _ := w.Plan.Machine(p.From.Name)
	_, ip, err := w.Address(p.To, p.Protocol)
	addr, parse := netip.ParseAddr(ip)
	if err != nil || parse != nil {
		return m.Address().String()
	}
	return observe.EgressIP(m, addr)
}

func judgeRecords(w observe.Snapshot, f *Finding, p Row, main agent.Result) {
	answer := main.Answers[0].DNS
	if answer == nil {
		f.Outcome, f.Reason = report.Fail, "no DNS answer"
		return
	}
	f.Observed.Backend = answer.Server
	want, name := "", p.To.Name+"."
	if p.ID == DNSService {
		want = w.Services[p.To.Name].ClusterIP
		name = p.To.Name + "." + workload.Namespace + ".svc." + w.Plan.Kubernetes.Domain + "."
	} else {
		want = w.Plan.Records()[p.To.Name]
		if want == "" {
			want = w.Plan.Records()[name]
		}
	}
	observed := strings.Join(answer.Values("A"), " ")
	if observed == "" {
		observed = answer.Code
	}
	f.Equal("name found", name, answer.Name)
	f.Equal("A record", want, observed)
}

func judgeCertificate(w observe.Snapshot, f *Finding, main agent.Result) {
	c := main.Answers[0].Certificate
	if c == nil {
		f.Assert("certificate", "the Ingress's own", "none", false)
		return
	}
	f.Assert("certificate", "for "+strings.Join(workload.IngressHosts(), " "), "for "+strings.Join(c.DNSNames, " "), c.SHA256 == w.Leaf)
}

// vip is the VIP that a path goes to, "" for none.
func vip(w observe.Snapshot, p Row) string {
	switch {
	case p.To.Kind == report.AtVIP:
		return w.Services[p.To.Name].VIP
	case p.To.Kind == report.AtIngress && w.Plan.Ingress.Service != "NodePort":
		return w.Ingress.VIP
	}
	return ""
}

// judgeARP: exactly one station answers for the VIP, and it is a Node; under Local one
// with an endpoint. A reply that only an old ARP entry made possible does not hide that
// nobody announces the VIP any more.
func judgeARP(w observe.Snapshot, f *Finding, p Row, vip string, arp agent.Result) {
	if arp.Outcome != agent.Reply {
		f.Assert("owner of the VIP", "a Node", "nobody answers ARP for "+vip, false)
		return
	}
	var owners []string
	nodes := true
	for _, mac := range arp.Answers[0].MACs {
		owner := w.NicOwner(mac)
		m, _ := w.Plan.Machine(owner)
		nodes = nodes && m.Kind == "node"
		owners = append(owners, cmp.Or(owner, "unknown station "+mac))
	}
	want := "one Node"
	if p.To.Name == workload.ServiceLBLocal {
		want = "a Node with an endpoint"
		for _, o := range owners {
			nodes = nodes && slices.ContainsFunc(w.Services[p.To.Name].Ready, func(pod string) bool { return w.NodeOfPod(pod) == o })
		}
	}
	for _, o := range owners {
		if !slices.Contains(f.Nodes, o) {
			f.Nodes = append(f.Nodes, o)
		}
	}
	f.Assert("owner of the VIP", want, strings.Join(owners, " and "), nodes && len(owners) == 1)
}
