package checks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

func ownPath(from, to, protocol, expect string) labs.Path {
	p := labs.Path{From: from, To: to, Protocol: protocol, Expect: labs.Expectation(expect)}
	p.Fill()
	return p
}

// TestOwnRows: every source and every destination is in a row, and machines stay netlab's own ends.
func TestOwnRows(t *testing.T) {
	of := func(kind string, names ...string) map[observe.Ref]observe.End {
		out := map[observe.Ref]observe.End{}
		for _, n := range names {
			out[observe.Ref{Kind: kind, Name: n}] = observe.End{IP: "10.0.0.1", Pod: observe.PodRef{UID: n}}
		}
		return out
	}
	rows, ends := OwnRows([]labs.Path{ownPath("x/a", "x/b:80", "tcp", "denied"), ownPath("w1", "x/b:80", "tcp", "reachable")},
		func(p labs.Path) map[observe.Ref]observe.End {
			if p.From == "w1" {
				return of(report.AtNode, "w1")
			}
			return of(report.AtPod, "a1", "a2", "a3")
		},
		func(labs.Path) map[observe.Ref]observe.End { return of(report.AtPod, "b1", "b2") })
	var got []string
	for _, r := range rows {
		got = append(got, r.From.Name+">"+r.To.Name+" "+r.Expected)
	}
	if want := "a1>b1 unreachable, a2>b2 unreachable, a3>b1 unreachable, w1>b1 reachable, w1>b2 reachable"; strings.Join(got, ", ") != want {
		t.Errorf("rows %v, want %s", got, want)
	}
	if _, node := ends[observe.Ref{Kind: report.AtNode, Name: "w1"}]; node || len(ends) != 5 {
		t.Errorf("ends %v", ends)
	}
}

// shopEnds are a Pod on w1 and a Service with a backend on w2.
func shopEnds() map[observe.Ref]observe.End {
	web := observe.PodRef{Namespace: "shop", Name: "web", UID: "2", Node: "w2", IP: "10.244.2.60"}
	return map[observe.Ref]observe.End{
		{Kind: report.AtPod, Name: "shop/frontend", Node: "w1"}: {IP: "10.244.1.51", Pod: observe.PodRef{Namespace: "shop", Name: "frontend", UID: "1", Node: "w1", IP: "10.244.1.51"}},
		{Kind: report.AtService, Name: "shop/web:80"}:           {IP: "10.96.7.7", Port: 80, Behind: []observe.Backend{{Pod: web, Machine: "w2", IP: web.IP, Port: 8080}}},
		{Kind: report.AtAddress, Name: "192.0.2.1:80"}:          {IP: "192.0.2.1", Port: 80},
	}
}

func ownRow(p labs.Path) Row {
	r := Row{ID: Mine, From: observe.Ref{Kind: report.AtPod, Name: "shop/frontend", Node: "w1"}, To: observe.Ref{Kind: report.AtService, Name: "shop/web:80"},
		Protocol: p.Protocol, Expected: report.Reachable, Status: p.Status(), Own: p}
	if p.To == "192.0.2.1:80" {
		r.To = observe.Ref{Kind: report.AtAddress, Name: p.To}
	}
	if p.Expect == labs.Denied {
		r.Expected = report.Unreachable
	}
	return r
}

// TestOwnAsks: what is sent for a path of the user's, its controls included.
func TestOwnAsks(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observe.Snapshot{Plan: plan, Support: plantest.Flannel(), Pods: Pods(plan), Ends: shopEnds(), Services: map[string]observe.Service{}}
	web := ownPath("shop/frontend", "shop/web:80", "https", "403")
	web.Host, web.Path = "shop.example.test", "/admin"
	for _, c := range []struct {
		path labs.Path
		want string
	}{
		{ownPath("shop/frontend", "shop/web:80", "tcp", "reachable"), "main shop/frontend: tcp 10.96.7.7:80 --connect --timeout 2s"},
		{web, "main shop/frontend: https https://10.96.7.7:80/admin --host shop.example.test --timeout 2s"},
		{ownPath("shop/frontend", "shop/web:80", "tcp", "denied"), "main shop/frontend: tcp 10.96.7.7:80 --connect --timeout 2s" +
			"\nlistens w2: tcp 10.244.2.60:8080 --connect --timeout 2s\nclient w1: tcp 10.244.1.51:9 --connect\ncontrol w1: http http://172.30.0.12:29640/"},
		{ownPath("shop/frontend", "192.0.2.1:80", "tcp", "denied"), "main shop/frontend: tcp 192.0.2.1:80 --connect --timeout 2s" +
			"\nlistens w1: tcp 192.0.2.1:80 --connect --timeout 2s\nclient w1: tcp 10.244.1.51:9 --connect"},
	} {
		asks, err := AsksOf(s, ownRow(c.path))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range asks {
			got = append(got, fmt.Sprintf("%s %s: %s", a.Part, a.From.Name, strings.Join(a.Probe.Args()[2:], " ")))
		}
		if text := strings.Join(got, "\n"); text != c.want {
			t.Errorf("%+v asks\n%s\nwant\n%s", c.path, text, c.want)
		}
	}
}

func answered(a agent.Answer) agent.Result {
	a.Outcome = agent.Reply
	return agent.Result{Outcome: agent.Reply, Answers: []agent.Answer{a}}
}

// TestOwnJudge: each expectation passes and fails, and no deny counts without its controls.
func TestOwnJudge(t *testing.T) {
	timeout, refused := agent.Result{Outcome: agent.Timeout, Error: "i/o timeout"}, agent.Result{Outcome: agent.Refused, Error: "refused"}
	yes := answered(agent.Answer{})
	status := func(n int) agent.Result { return answered(agent.Answer{Status: n}) }
	name := func(code string, records ...agent.Record) agent.Result {
		return answered(agent.Answer{DNS: &agent.DNSAnswer{Code: code, Records: records}})
	}
	with := func(main, listens, client, control agent.Result) Answers {
		return Answers{PartMain: main, PartListens: listens, PartClient: client, PartControl: control}
	}
	for _, c := range []struct {
		what, protocol, expect string
		got                    Answers
		outcome, reason        string
	}{
		{"connected", "tcp", "reachable", Answers{PartMain: yes}, report.Pass, ""},
		{"not connected", "tcp", "reachable", Answers{PartMain: timeout}, report.Fail, "no reply in time"},
		{"any status", "http", "reachable", Answers{PartMain: status(404)}, report.Pass, ""},
		{"a proxy without backend", "http", "reachable", Answers{PartMain: status(503)}, report.Fail, "HTTP status 503"},
		{"that status", "http", "503", Answers{PartMain: status(503)}, report.Pass, ""},
		{"another status", "http", "403", Answers{PartMain: status(200)}, report.Fail, "status: expected 403, observed 200"},
		{"a name", "dns", "reachable", Answers{PartMain: name("NOERROR", agent.Record{Type: "A", Value: "10.0.0.1"})}, report.Pass, ""},
		{"no name", "dns", "reachable", Answers{PartMain: name("NXDOMAIN")}, report.Fail, "response: expected NOERROR with a record, observed NXDOMAIN"},
		{"no such name", "dns", "NXDOMAIN", Answers{PartMain: name("NXDOMAIN")}, report.Pass, ""},
		{"denied", "tcp", "denied", with(timeout, yes, refused, yes), report.Pass, ""},
		{"rejected", "tcp", "denied", with(refused, yes, yes, yes), report.Pass, ""},
		{"not denied", "tcp", "denied", with(yes, yes, yes, yes), report.Fail, "expected no answer, got an answer"},
		{"denied by a proxy", "http", "denied", with(status(503), status(200), yes, yes), report.Pass, ""},
		{"nothing listens", "tcp", "denied", with(refused, refused, yes, yes), report.Broken, "inconclusive: control: the destination answers at its own Node failed (refused (refused))"},
		{"a proxy without backend for anybody", "http", "denied", with(status(503), status(503), yes, yes), report.Broken, "inconclusive: control: the destination answers at its own Node failed (HTTP status 503)"},
		{"the client has no network", "tcp", "denied", with(timeout, yes, timeout, yes), report.Broken, "inconclusive: control: the client is reached from its own Node failed (no reply in time)"},
		{"the machines are separated", "tcp", "denied", with(timeout, yes, yes, timeout), report.Broken, "inconclusive: control: the client's machine reaches that of the destination failed (no reply in time)"},
		{"a datagram of which nobody knows", "udp", "denied", with(timeout, timeout, yes, yes), report.Pass, ""},
		{"no socket", "udp", "denied", with(refused, refused, yes, yes), report.Broken, "inconclusive: control: the destination answers at its own Node failed (refused (refused))"},
		{"no control", "tcp", "denied", Answers{PartMain: timeout}, report.Broken, "inconclusive: nothing else in the lab can ask the destination"},
		{"the probe could not run", "tcp", "denied", with(agent.Result{Outcome: agent.Broken, Error: "x"}, yes, yes, yes), report.Broken, "the probe could not run: x"},
	} {
		f := Judge(observe.Snapshot{Ends: shopEnds()}, ownRow(ownPath("shop/frontend", "shop/web:80", c.protocol, c.expect)), c.got)
		if f.Outcome != c.outcome || f.Reason != c.reason {
			t.Errorf("%s: %s (%s), want %s (%s)", c.what, f.Outcome, f.Reason, c.outcome, c.reason)
		}
	}
}

// TestOwnCertificate: a certificate that is for another name fails the path, whoever signed it.
func TestOwnCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := func(names ...string) *agent.Certificate {
		leaf := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names}
		der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return &agent.Certificate{DNSNames: names, DER: der}
	}
	p := ownPath("shop/frontend", "shop/web:443", "https", "reachable")
	p.Certificate = "shop.example.test"
	for _, c := range []struct {
		served *agent.Certificate
		reason string
	}{
		{of("shop.example.test"), ""},
		{of("old.example.test", "*.example.test"), ""},
		{of("old.example.test"), "certificate: expected for shop.example.test, observed for old.example.test"},
		{nil, "certificate: expected for shop.example.test, observed none"},
	} {
		got := answered(agent.Answer{Status: 200, Certificate: c.served})
		f := Judge(observe.Snapshot{Ends: shopEnds()}, ownRow(p), Answers{PartMain: got})
		if f.Reason != c.reason || (f.Outcome == report.Pass) != (c.reason == "") {
			t.Errorf("%s (%s), want %q", f.Outcome, f.Reason, c.reason)
		}
	}
}

// TestOwnCaptured: datagrams and source addresses are judged by where packets were seen.
func TestOwnCaptured(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	s := observe.Snapshot{Plan: plan, Ends: shopEnds()}
	arrives := func(source string) *report.Evidence {
		return &report.Evidence{Hops: []report.Hop{
			{Machine: "w1", Pod: "shop/frontend", Direction: "out", Leg: "request", Packet: "UDP", Source: "10.244.1.51:4", Destination: "10.96.7.7:80"},
			{Machine: "w2", Pod: "shop/web", Direction: "in", Leg: "request", Packet: "UDP", Source: source + ":4", Destination: "10.244.2.60:8080"}}}
	}
	lost := &report.Evidence{Hops: arrives("").Hops[:1]}
	path := func(protocol, expect, source string) labs.Path {
		p := ownPath("shop/frontend", "shop/web:80", protocol, expect)
		p.Source = source
		return p
	}
	for _, c := range []struct {
		what     string
		path     labs.Path
		before   string
		evidence *report.Evidence
		outcome  string
	}{
		{"a datagram that nobody answers", path("udp", "reachable", ""), report.Fail, arrives("10.244.1.51"), report.Pass},
		{"a datagram that is lost", path("udp", "reachable", ""), report.Fail, lost, report.Fail},
		{"a datagram that is denied", path("udp", "denied", ""), report.Pass, lost, report.Pass},
		{"a datagram that is not denied", path("udp", "denied", ""), report.Pass, arrives("10.244.1.51"), report.Fail},
		{"the client's address", path("tcp", "reachable", "preserved"), report.Pass, arrives("10.244.1.51"), report.Pass},
		{"a Node's address in its place", path("tcp", "reachable", "preserved"), report.Pass, arrives("172.30.0.11"), report.Fail},
		{"a Node's address", path("tcp", "reachable", "node"), report.Pass, arrives("172.30.0.11"), report.Pass},
		{"not a Node's address", path("tcp", "reachable", "node"), report.Pass, arrives("10.244.1.51"), report.Fail},
		{"not seen", path("tcp", "reachable", "preserved"), report.Pass, lost, report.Fail},
		{"no capture", path("tcp", "reachable", "preserved"), report.Pass, nil, report.Broken},
		{"a failure stays one", path("tcp", "reachable", "preserved"), report.Fail, nil, report.Fail},
	} {
		f := Finding{Outcome: c.before}
		if JudgeCaptured(s, ownRow(c.path), &f, c.evidence); f.Outcome != c.outcome {
			t.Errorf("%s: %s (%s), want %s", c.what, f.Outcome, f.Reason, c.outcome)
		}
	}
}

// TestOwnHairpin: a denied datagram that a Service sends back to its Pod is tried again, one that
// arrives at another Pod is not.
func TestOwnHairpin(t *testing.T) {
	s := observe.Snapshot{Plan: plantest.Plan(t, "quickstart"), Ends: shopEnds()}
	row := ownRow(ownPath("shop/frontend", "shop/web:80", "udp", "denied"))
	client := s.Ends[row.From].Pod
	web := s.Ends[row.To]
	web.Behind = append(web.Behind, observe.Backend{Pod: client, Machine: client.Node, IP: client.IP, Port: 8080})
	s.Ends[row.To] = web
	for _, c := range []struct {
		at      observe.Backend
		settled bool
	}{{web.Behind[0], true}, {web.Behind[1], false}} {
		f := Finding{Outcome: report.Pass}
		JudgeCaptured(s, row, &f, &report.Evidence{Hops: []report.Hop{{Machine: c.at.Machine, Pod: c.at.Pod.Title(), Direction: "in",
			Leg: "request", Packet: "UDP", Source: "169.254.42.1:4", Destination: observe.JoinPort(c.at.IP, 8080)}}})
		if settled := CaptureSettled(s, row, f); f.Outcome != report.Fail || settled != c.settled || strings.Contains(f.Reason, "back to itself") == c.settled {
			t.Errorf("a datagram that arrives at %s: %s (%s), settled %t", c.at.Pod.Title(), f.Outcome, f.Reason, settled)
		}
	}
}

// TestSuggestions: what is seen becomes a list that a lab file accepts; what proves nothing is a
// comment.
func TestSuggestions(t *testing.T) {
	judged := func(p labs.Path, outcome string, status int, reason string) Judged {
		return Judged{Row: Row{ID: Mine, Own: p}, Finding: Finding{Outcome: outcome, Replied: outcome == report.Fail, Status: status, Reason: reason}}
	}
	denied := func(from, to, protocol string) labs.Path { return ownPath(from, to, protocol, "denied") }
	all := Suggestions([]Judged{
		judged(denied("shop/frontend", "shop/web:80", "http"), report.Fail, 200, ""),
		judged(denied("shop/frontend", "shop/web:80", "http"), report.Fail, 200, ""), // another Pod
		judged(denied("shop/frontend", "shop/admin:80", "http"), report.Fail, 403, ""),
		judged(denied("shop/visitor", "shop/web:80", "tcp"), report.Pass, 0, ""),
		judged(denied("shop/visitor", "shop/db:5432", "tcp"), report.Pass, 0, ""),
		judged(denied("shop/visitor", "shop/db:5432", "tcp"), report.Fail, 0, ""),
		judged(denied("client", "ingress/shop.test", "http"), report.Broken, 0, "inconclusive"),
	})
	text := "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: x}\nverify:\n  paths:\n"
	for _, s := range all {
		text += "  " + s.String() + "\n"
	}
	lab, err := labs.Load("lab.yaml", []byte(text), labstest.Known())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var got []string
	for _, p := range lab.Verify.Paths {
		got = append(got, fmt.Sprint(p.From, " ", p.To, " ", p.Protocol, " ", p.Expect))
	}
	want := []string{"shop/frontend shop/web:80 http reachable", "shop/frontend shop/admin:80 http 403", "shop/visitor shop/web:80 tcp denied"}
	if !slices.Equal(got, want) || !strings.Contains(text, "denied for some Pods, reachable for others") || !strings.Contains(text, "# inconclusive") {
		t.Errorf("suggested\n%s\nwant %q", text, want)
	}
}
