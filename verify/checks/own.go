package checks

import (
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

const sectionOwn = "Your own paths"

// Mine is the id of the paths that the lab file lists: verify.paths.
const Mine = "mine"

func own() []Check {
	return []Check{{
		ID: Mine, Section: sectionOwn, Grid: sectionOwn, Title: "any end → any end, as `verify.paths` of the lab file says",
		Rows:     func(l Lab) []Row { return l.own },
		Request:  ownRequest,
		Asserts:  []Assertion{Expected{}, Controls{}},
		Suspects: []Suspect{lostToDNS},
	}}
}

// OwnRows are the rows of the user's paths, with the ends that they have in the cluster: every
// source and every destination of a path is in one of its rows at least.
func OwnRows(paths []labs.Path, sources, targets func(labs.Path) map[observe.Ref]observe.End) (rows []Row, ends map[observe.Ref]observe.End) {
	ends = map[observe.Ref]observe.End{}
	for _, p := range paths {
		begins := sources(p)
		from, to := refsOf(begins), refsOf(targets(p))
		maps.Copy(ends, targets(p))
		for r, e := range begins {
			if r.Kind == report.AtPod {
				ends[r] = e // machines are ends of other paths too, by the same name
			}
		}
		for i := range max(len(from), len(to)) {
			r := Row{ID: Mine, From: from[i%len(from)], To: to[i%len(to)], Protocol: p.Protocol, Expected: report.Reachable, Status: p.Status(), Own: p}
			if p.Expect == labs.Denied {
				r.Expected = report.Unreachable
			}
			rows = append(rows, r)
		}
	}
	return rows, ends
}

// refsOf lists the names of ends in order.
func refsOf(found map[observe.Ref]observe.End) []observe.Ref {
	return slices.SortedFunc(maps.Keys(found), func(a, b observe.Ref) int { return strings.Compare(a.Name, b.Name) })
}

// ownRequest is a request as a path of the user's describes it.
func ownRequest(q Query, p *agent.Probe) {
	*p = ownProbe(q, q.Target)
}

// ownProbe asks a target as a path of the user's says, longer where machines are emulated.
func ownProbe(q Query, target string) agent.Probe {
	of, end := q.Row.Own, q.Ends[q.Row.To]
	p := agent.Probe{Kind: of.Protocol, Target: target, TimeoutMillis: int((of.Within.Duration * observe.Patience(q.Plan)).Milliseconds())}
	switch of.Protocol {
	case labs.PathTCP:
		p.Connect = true
	case labs.PathHTTP, labs.PathHTTPS:
		p.Target, p.Host = of.Protocol+"://"+target+of.Path, of.Host
		if p.Host == "" && end.IP != "" {
			p.Host = end.Name // of an Ingress
		}
	}
	return p
}

// ByCapture reports whether a row is judged by where its packets were seen: a datagram may arrive
// at a server that does not answer it.
func (r Row) ByCapture() bool { return r.ID == Mine && r.Protocol == agent.UDP }

// Captured reports whether a row has something that only its packets show.
func (r Row) Captured() bool { return r.ByCapture() || r.ID == Mine && r.Own.Source != "" }

// Expected asserts what a path of the user's says.
type Expected struct{ alone }

func (Expected) String() string {
	return "what `expect` says: an answer, an HTTP status, a DNS response code; with `source`, the address that the destination sees; with `certificate`, the name that the server's is for"
}

// Judge returns nothing: judgeOwn judges the answers.
func (Expected) Judge(observe.Snapshot, Row, Answers) []report.Property { return nil }

// reached reports whether a result shows that the destination was reached. A proxy that does not
// reach its backend says so itself.
func reached(of labs.Path, r agent.Result) bool {
	if r.Outcome != agent.Reply {
		return false
	}
	status := statusOf(r)
	return of.Status() != 0 || !slices.Contains([]int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status)
}

// firstReply is the first answer of a result that is one.
func firstReply(r agent.Result) (a agent.Answer) {
	if i := slices.IndexFunc(r.Answers, func(a agent.Answer) bool { return a.Outcome == agent.Reply }); i >= 0 {
		a = r.Answers[i]
	}
	return a
}

func statusOf(r agent.Result) int { return firstReply(r).Status }

// ownSaid describes a result with what it holds.
func ownSaid(r agent.Result) string {
	a := firstReply(r)
	switch {
	case r.Outcome != agent.Reply:
		return Said(r)
	case a.Status != 0:
		return fmt.Sprintf("HTTP status %d", a.Status)
	case a.DNS != nil && len(a.DNS.Records) > 0:
		return a.DNS.Code + ", " + a.DNS.Records[len(a.DNS.Records)-1].Value
	case a.DNS != nil:
		return a.DNS.Code + " without records"
	}
	return "an answer"
}

// judgeOwn compares the answers of a path of the user's with what it expects.
func judgeOwn(f *Finding, r Row, got Answers) {
	main, of := got[PartMain], r.Own
	f.Observed.RTTMicros = MedianRTT(main)
	f.Replied, f.Status = reached(of, main), statusOf(main)
	if r.Expected == report.Unreachable {
		judgeOwnSilence(f, r, got)
		return
	}
	if !reached(of, main) {
		f.Outcome, f.Reason = report.Fail, ownSaid(main)
		return
	}
	a := firstReply(main)
	switch {
	case a.DNS != nil:
		want, seen := string(of.Expect), a.DNS.Code
		if of.Expect == labs.Reachable {
			want = "NOERROR with a record"
			if a.DNS.Code == "NOERROR" && len(a.DNS.Records) > 0 {
				seen = want
			}
		}
		f.Observed.Backend = a.DNS.Server
		for _, p := range equal(report.KeyRecords, "response", want, seen) {
			f.Assert(p)
		}
		if f.Outcome == report.Pass {
			f.Properties[len(f.Properties)-1].Observed = ownSaid(main)
		}
	case of.Status() != 0:
		for _, p := range equal(report.KeyStatus, "status", string(of.Expect), strconv.Itoa(a.Status)) {
			f.Assert(p)
		}
	case a.Status != 0:
		f.Assert(report.Property{Key: report.KeyStatus, Name: "status", Expected: "any of the destination's own", Observed: strconv.Itoa(a.Status), OK: true})
	}
	if of.Certificate != "" {
		f.Assert(certified(of.Certificate, a.Certificate))
	}
}

// certified asserts that a certificate is for a DNS name, whoever signed it.
func certified(name string, c *agent.Certificate) report.Property {
	p := report.Property{Key: report.KeyCertificate, Name: "certificate", Expected: "for " + name, Observed: "none"}
	if c == nil {
		return p
	}
	p.Observed = "for " + strings.Join(c.DNSNames, " ")
	leaf, err := x509.ParseCertificate(c.DER)
	p.OK = err == nil && leaf.VerifyHostname(name) == nil
	return p
}

// judgeOwnSilence: nothing may answer, and each control shows that it could have.
func judgeOwnSilence(f *Finding, r Row, got Answers) {
	main := got[PartMain]
	answer := report.Property{Name: "answer", Expected: "none", Observed: ownSaid(main), OK: !reached(r.Own, main)}
	if r.Protocol == agent.DNS {
		answer.OK = main.Outcome != agent.Reply
	}
	f.Properties = append(f.Properties, answer)
	if !answer.OK {
		f.Outcome, f.Reason = report.Fail, "expected no answer, got "+ownSaid(main)
		return
	}
	controls := 0
	for _, part := range []Part{PartListens, PartClient, PartControl} {
		result, asked := got[part]
		if !asked {
			continue
		}
		controls++
		ok, name := reached(r.Own, result), "control: the destination answers at its own Node"
		switch part {
		case PartListens:
			ok = ok || r.Protocol == agent.UDP && result.Outcome == agent.Timeout // a socket that is not bound is refused
		case PartClient:
			ok, name = result.Outcome == agent.Reply || result.Outcome == agent.Refused, "control: the client is reached from its own Node"
		case PartControl:
			ok, name = result.Outcome == agent.Reply, "control: the client's machine reaches that of the destination"
		}
		f.Properties = append(f.Properties, report.Property{Name: name, Expected: "yes", Observed: ownSaid(result), OK: ok})
		if !ok && f.Outcome == report.Pass {
			f.Outcome, f.Reason = report.Broken, fmt.Sprintf("inconclusive: %s failed (%s)", name, ownSaid(result))
		}
	}
	if controls == 0 {
		f.Outcome, f.Reason = report.Broken, "inconclusive: nothing else in the lab can ask the destination"
	}
}

// Controls are the positive controls of a path of the user's that must be denied. They go where no
// policy of a Namespace is in force: between a Pod and its own Node, and between machines.
type Controls struct{}

func (Controls) silent() {}

func (Controls) String() string {
	return "`denied`: no answer, while the destination answers at its own Node, the client is reached from its own, and the two machines reach each other"
}

// Judge returns nothing: judgeOwnSilence judges the controls.
func (Controls) Judge(observe.Snapshot, Row, Answers) []report.Property { return nil }

func (Controls) Probes(q Query) (asks []Ask) {
	of, end, from := q.Row.Own, q.Ends[q.Row.To], q.Row.From
	client, _ := q.Plan.Machine(from.Machine())
	at, far := atMachine(client), topology.Machine{}
	if of.Protocol == labs.PathDNS {
		p := ownProbe(q, q.Target)
		p.Server = q.Plan.Kubernetes.DNS().String()
		asks = append(asks, Ask{Part: PartListens, From: at, Probe: p})
	} else if len(end.Behind) > 0 {
		b := end.Behind[0]
		far, _ = q.Plan.Machine(b.Machine)
		asks = append(asks, Ask{Part: PartListens, From: atMachine(far), Probe: ownProbe(q, observe.JoinPort(b.IP, b.Port))})
	} else if other, ok := q.bystander(from); ok {
		asks = append(asks, Ask{Part: PartListens, From: other, Probe: ownProbe(q, q.Target)})
	}
	if pod := q.Ends[from].Pod; pod.UID != "" && !pod.HostNetwork {
		asks = append(asks, Ask{Part: PartClient, From: at, Probe: agent.Probe{Kind: agent.TCP, Connect: true, Target: observe.JoinPort(pod.IP, discard)}})
	}
	if far.Name != "" && far.Name != client.Name {
		port := agent.PortHTTP
		if far.Kind == topology.KindNode {
			port = agent.HostNetworkHTTP
		}
		asks = append(asks, Ask{Part: PartControl, From: at, Probe: agent.Probe{Kind: agent.HTTP, Target: "http://" + observe.JoinPort(q.Toward(at, far.Name), port) + "/"}})
	}
	return asks
}

// discard is a port at which a Pod refuses a connection, or accepts it: either shows that packets
// pass in both directions (RFC 863).
const discard = 9

// bystander is a machine other than the client that can ask what is not in the lab: the Node of a
// Pod, else any other.
func (q Query) bystander(from observe.Ref) (observe.Ref, bool) {
	if from.Kind == report.AtPod {
		m, ok := q.Plan.Machine(from.Node)
		return atMachine(m), ok
	}
	for _, m := range q.Plan.Machines {
		if m.Name != from.Name {
			return atMachine(m), true
		}
	}
	return observe.Ref{}, false
}

func atMachine(m topology.Machine) observe.Ref {
	if m.Kind == topology.KindNode {
		return observe.AtNode(m)
	}
	return observe.AtHost(m)
}

// JudgeCaptured adds to a finding what the packets of its probe show: whether they arrived, and
// with which source address.
func JudgeCaptured(s observe.Snapshot, r Row, f *Finding, e *report.Evidence) {
	if f.Outcome == report.Broken || f.Outcome == report.Fail && !r.ByCapture() {
		return
	}
	if e == nil {
		f.Outcome, f.Reason = report.Broken, "its packets could not be captured"
		return
	}
	where, source, arrived := Arrived(s, r.To, *e)
	if r.ByCapture() {
		p := report.Property{Key: report.KeyAnswered, Name: "datagram", Expected: "arrives", Observed: "does not arrive", OK: arrived}
		if arrived {
			f.Replied, p.Observed = true, "arrives at "+where
			f.Observed.Backend = where
		}
		switch {
		case r.Expected == report.Unreachable:
			p.Expected, p.OK = "does not arrive", !arrived
			f.Assert(p)
			if hairpin(s, r, *f) {
				f.Reason += ": the Service sends a Pod back to itself, which a CNI may allow whatever its policies say"
			}
		case arrived && f.Outcome == report.Fail:
			f.Outcome, f.Reason = report.Pass, ""
			f.Assert(p)
		default:
			f.Properties = append(f.Properties, p)
		}
	}
	if r.Own.Source == "" || f.Outcome != report.Pass {
		return
	}
	f.Observed.SourceIP = source
	want, ok := clientText(s, r)
	p := report.Property{Key: report.KeySource, Name: "source seen", Expected: strings.Join(want, " or "), Observed: source, OK: ok(source)}
	if r.Own.Source == labs.SourceNode {
		p.Expected, p.OK = "a Node's address", s.NodeSide(source) && !ok(source)
	}
	if !arrived {
		p.Observed, p.OK = "nothing: the request was not seen at the destination", false
	}
	f.Assert(p)
}

// CaptureSettled reports whether another request under capture would not change the verdict of a
// path. A deny that is broken is settled, except where the Service sent a Pod back to itself: the
// next request may go to another endpoint.
func CaptureSettled(s observe.Snapshot, r Row, f Finding) bool {
	return f.Outcome == report.Pass || r.Expected == report.Unreachable && !hairpin(s, r, f)
}

// hairpin reports whether a Pod's request arrived at that Pod itself. Kubernetes does not say
// whether policies apply to what a Service sends back: Cilium lets it pass whatever they say
// (https://github.com/cilium/cilium/pull/15321).
func hairpin(s observe.Snapshot, r Row, f Finding) bool {
	pod := s.Ends[r.From].Pod
	return pod.UID != "" && f.Observed.Backend == pod.Title()
}

// clientText are the addresses of a row's client.
func clientText(s observe.Snapshot, r Row) (own []string, is func(string) bool) {
	if pod := s.Ends[r.From].Pod; pod.UID != "" {
		own = []string{pod.IP}
	} else if m, ok := s.Plan.Machine(r.From.Machine()); ok {
		for _, a := range m.Addresses() {
			own = append(own, a.String())
		}
	}
	return own, func(ip string) bool { return slices.Contains(own, ip) }
}

// Arrived finds in the evidence of a probe where its request arrived, of what is behind a
// destination, and with which source address.
func Arrived(s observe.Snapshot, to observe.Ref, e report.Evidence) (where, source string, arrived bool) {
	for _, h := range e.Hops {
		host, port, err := net.SplitHostPort(h.Destination)
		if err != nil || h.Leg != "request" || h.Direction != "in" || strings.HasPrefix(h.Packet, "ARP") || h.Outer != nil {
			continue
		}
		for _, b := range s.Ends[to].Behind {
			at, addresses := b.Machine, []string{b.IP}
			if m, ok := s.Plan.Machine(at); ok && b.Pod.UID == "" {
				for _, a := range m.Addresses() { // it is asked at whichever is reached
					addresses = append(addresses, a.String())
				}
			}
			if b.Pod.UID != "" && !b.Pod.HostNetwork {
				at = b.Pod.Title()
			}
			here := h.Pod == at || h.Pod == "" && h.Machine == at
			if from, _, err := net.SplitHostPort(h.Source); here && err == nil && slices.Contains(addresses, host) && port == strconv.Itoa(b.Port) {
				return at, from, true
			}
		}
	}
	return "", "", false
}
