package run

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// sampled is a report with everything that a report can hold: faults, evidence of packets
// that arrived and of packets that did not, throughput and latency.
func sampled(t *testing.T) report.Report {
	t.Helper()
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Flannel(), observetest.Healthy(plan))
	r := reported(t, observetest.Healthy(plan), drop(&w, "w1", "w2", "underlay"))
	attach := func(id, from, to string, e report.Evidence) {
		i := slices.IndexFunc(r.Paths, func(p report.Result) bool { return p.ID == id && p.From.Name == from && p.To.Name == to })
		if i < 0 {
			t.Fatalf("no path %s %s → %s", id, from, to)
		}
		r.Paths[i].Evidence = &e
	}
	vxlan := func(from, to string) *report.Outer {
		return &report.Outer{Kind: "VXLAN", VNI: 1, Source: from + ":41234", Destination: to + ":8472"}
	}

	request := sightings{"request", "TCP SYN", "10.244.0.3:40112", "10.244.1.3:8080"}
	answer := sightings{"reply", "TCP SYN-ACK", "10.244.1.3:8080", "10.244.0.3:40112"}
	out, back := vxlan("172.30.0.10", "172.30.0.11"), vxlan("172.30.0.11", "172.30.0.10")
	wrapped := report.Change{What: "VXLAN 1 172.30.0.10 → 172.30.0.11", By: "CNI"}
	attach(checks.PodToPodCrossNode, "echo-cp", "echo-w1", report.Evidence{Pcap: "pod-to-pod-cross-node-1.pcapng", Hops: []report.Hop{
		request.hop("cp", "echo-cp", "eth0", "out", 0, 64, nil),
		behind("echo-cp", request.hop("cp", "", "vethd41c3a9e", "in", 9, 64, nil)),
		request.hop("cp", "", "cni0", "in", 14, 64, nil),
		request.hop("cp", "", "flannel.1", "out", 31, 63, nil, report.Change{What: "TTL 64 → 63", By: "router"}),
		request.hop("cp", "", "eth0", "out", 44, 63, out, wrapped),
		request.hop("w1", "", "eth0", "in", 61, 63, out),
		request.hop("w1", "", "flannel.1", "in", 72, 63, nil, report.Change{What: "decapsulated from VXLAN 1", By: "CNI"}),
		request.hop("w1", "", "cni0", "out", 80, 62, nil, report.Change{What: "TTL 63 → 62", By: "router"}),
		behind("echo-w1", request.hop("w1", "", "veth2f0b77aa", "out", 84, 62, nil)),
		request.hop("w1", "echo-w1", "eth0", "in", 88, 62, nil),
		answer.hop("w1", "echo-w1", "eth0", "out", 131, 64, nil),
		answer.hop("w1", "", "flannel.1", "out", 150, 63, nil),
		answer.hop("w1", "", "eth0", "out", 158, 63, back, report.Change{What: "VXLAN 1 172.30.0.11 → 172.30.0.10", By: "CNI"}),
		answer.hop("cp", "", "eth0", "in", 175, 63, back),
		answer.hop("cp", "", "flannel.1", "in", 181, 63, nil),
		answer.hop("cp", "echo-cp", "eth0", "in", 196, 62, nil),
	}})

	lost := sightings{"request", "TCP SYN", "10.244.1.3:51820", "10.244.2.3:8080"}
	gone := vxlan("172.30.0.11", "172.30.0.12")
	attach(checks.PodToPodCrossNode, "echo-w1", "echo-w2", report.Evidence{Lost: "left w1 eth0 as VXLAN, never reached w2 eth0", Hops: []report.Hop{
		lost.hop("w1", "echo-w1", "eth0", "out", 0, 64, nil),
		lost.hop("w1", "", "cni0", "in", 12, 64, nil),
		lost.hop("w1", "", "flannel.1", "out", 27, 63, nil),
		lost.hop("w1", "", "eth0", "out", 41, 63, gone, report.Change{What: "VXLAN 1 172.30.0.11 → 172.30.0.12", By: "CNI"}),
	}})

	asked := sightings{"request", "TCP SYN", "10.244.0.3:40720", "10.96.1.1:80"}
	chosen := sightings{"request", "TCP SYN", "10.244.0.3:40720", "10.244.2.3:8080"}
	attach(checks.PodToClusterIP, "echo-cp", "echo", report.Evidence{Hidden: []string{"cp vethd41c3a9e on the way out of echo-cp: not visible here"}, Hops: []report.Hop{
		asked.hop("cp", "echo-cp", "eth0", "out", 0, 64, nil),
		chosen.hop("cp", "", "eth0", "out", 40, 63, vxlan("172.30.0.10", "172.30.0.12"), report.Change{What: "DNAT 10.96.1.1:80 → 10.244.2.3:8080", By: "kube-proxy"}),
		chosen.hop("w2", "", "eth0", "in", 58, 63, vxlan("172.30.0.10", "172.30.0.12")),
		chosen.hop("w2", "echo-w2", "eth0", "in", 90, 62, nil),
	}})

	visitor := sightings{"request", "TCP SYN", "172.30.0.100:39222", "172.30.0.202:80"}
	inside := sightings{"request", "TCP SYN", "172.30.0.100:39222", "10.244.1.6:80"}
	proxied := sightings{"request", "TCP SYN", "10.244.1.6:46010", "10.244.0.3:8080"}
	attach(checks.OutsideToIngressHTTP, "client", "a.netlab.test/one", report.Evidence{Hops: []report.Hop{
		visitor.hop("client", "", "eth0", "out", 0, 64, nil),
		visitor.hop("w1", "", "eth0", "in", 16, 64, nil),
		inside.hop("w1", "", "cni0", "out", 38, 63, nil, report.Change{What: "DNAT 172.30.0.202:80 → 10.244.1.6:80", By: "kube-proxy"}),
		inside.hop("w1", "ingress-nginx/ingress-nginx-controller-7d9f6bdc5-x2x4q", "eth0", "in", 44, 63, nil),
		proxied.hop("w1", "ingress-nginx/ingress-nginx-controller-7d9f6bdc5-x2x4q", "eth0", "out", 310, 64, nil, report.Change{What: "a new connection", By: "ingress-nginx"}),
		proxied.hop("w1", "", "eth0", "out", 352, 63, vxlan("172.30.0.11", "172.30.0.10")),
		proxied.hop("cp", "", "eth0", "in", 369, 63, vxlan("172.30.0.11", "172.30.0.10")),
		proxied.hop("cp", "echo-cp", "eth0", "in", 401, 62, nil),
	}})

	leaving := sightings{"request", "TCP SYN", "10.244.0.3:44000", "203.0.113.100:8080"}
	left := sightings{"request", "TCP SYN", "172.30.0.10:44000", "203.0.113.100:8080"}
	attach(checks.PodToOutside, "echo-cp", "internet", report.Evidence{Hops: []report.Hop{
		leaving.hop("cp", "echo-cp", "eth0", "out", 0, 64, nil),
		left.hop("cp", "", "eth0", "out", 33, 63, nil, report.Change{What: "SNAT 10.244.0.3 → 172.30.0.10", By: "kube-proxy"}),
		left.hop("router", "", "eth0", "in", 48, 63, nil),
		left.hop("router", "", "eth1", "out", 60, 62, nil, report.Change{What: "TTL 63 → 62", By: "router"}),
		left.hop("internet", "", "eth0", "in", 74, 62, nil),
	}})
	sampledFigure(&r)
	r.Summary = report.Summarize(r.Paths)
	return r
}

// sightings is a packet between two addresses, seen at several places.
type sightings struct{ leg, packet, source, destination string }

func (p sightings) hop(machine, pod, iface, direction string, micros int64, ttl int, outer *report.Outer, changes ...report.Change) report.Hop {
	size := 60
	if outer != nil {
		size += 50
	}
	return report.Hop{Machine: machine, Pod: pod, Interface: iface, Direction: direction, Leg: p.leg, Micros: micros, Packet: p.packet,
		Source: p.source, Destination: p.destination, Outer: outer, TTL: ttl, Bytes: size, Changes: changes}
}

// behind is a hop on the Node's side of a Pod's veth.
func behind(pod string, h report.Hop) report.Hop {
	h.Peer = pod
	return h
}

// sampledFigure adds throughput and latency over the usual routes.
func sampledFigure(r *report.Report) {
	figure := func(unit string, samples ...float64) report.Figure {
		s := slices.Sorted(slices.Values(samples))
		return report.Figure{Unit: unit, Median: s[len(s)/2], Low: s[0], High: s[len(s)-1], Confidence: 1 - math.Pow(2, float64(1-len(s))), Samples: samples}
	}
	const giga = 1e9
	routes := []struct {
		id       string
		from, to report.End
		rate     float64 // Gbit/s of one stream
		micros   float64
	}{
		{"node-to-node", report.End{Kind: report.AtNode, Name: "w1", Node: "w1", IP: "172.30.0.11"}, report.End{Kind: report.AtNode, Name: "w2", Node: "w2", IP: "172.30.0.12"}, 21.4, 38},
		{"pod-same-node", report.End{Kind: report.AtPod, Name: "policy-default-deny", Node: "w1", IP: "10.244.1.4"}, report.End{Kind: report.AtPod, Name: "echo-w1", Node: "w1", IP: "10.244.1.3"}, 24.9, 31},
		{"pod-cross-node", report.End{Kind: report.AtPod, Name: "echo-cp", Node: "cp", IP: "10.244.0.3"}, report.End{Kind: report.AtPod, Name: "echo-w1", Node: "w1", IP: "10.244.1.3"}, 6.1, 74},
		{"clusterip", report.End{Kind: report.AtPod, Name: "echo-w1", Node: "w1", IP: "10.244.1.3"}, report.End{Kind: report.AtService, Name: "echo", IP: "10.96.1.1"}, 5.9, 79},
		{"loadbalancer", report.End{Kind: report.AtHost, Name: "client", IP: "172.30.0.100"}, report.End{Kind: report.AtVIP, Name: "echo-lb", IP: "172.30.0.200"}, 5.2, 92},
	}
	// All but the baseline end at one Pod, whose name the Service does not show.
	answered := func(to report.End) (o report.Observed) {
		if to.Kind == report.AtService || to.Kind == report.AtVIP {
			o = report.Observed{Backend: "echo-cp", Node: "cp"}
		}
		return o
	}
	for _, x := range routes {
		for _, streams := range []int{1, 4} {
			for _, direction := range []string{"forward", "reverse"} {
				rate := x.rate * (1 + 0.12*float64(streams-1)) * giga
				if direction == "reverse" {
					rate *= 0.94
				}
				f := figure("bit/s", rate*0.97, rate*1.02, rate, rate*0.99, rate*1.05)
				f.Streams, f.Direction = streams, direction
				again, cpu := figure("segments", 0, 4, 1, 2, 9), figure("s/Gbit", 0.21, 0.25, 0.23, 0.22, 0.24)
				f.Retransmits, f.CPUSeconds = &again, &cpu
				if x.id != "node-to-node" {
					f.Ratio = x.rate / 21.4
				}
				result := report.Result{ID: "throughput-" + x.id, Measures: report.Throughput, Route: x.id, From: x.from, To: x.to, Protocol: "tcp", Expected: report.Reachable, Outcome: report.Pass, Observed: answered(x.to), Throughput: &f,
					Command: fmt.Sprintf("netlab verify quickstart --throughput=%s", x.id), DurationMillis: 15020}
				if x.id == "loadbalancer" && streams == 4 && direction == "reverse" {
					result.Outcome, result.Reason = report.Fail, fmt.Sprintf("%.1f Gbit/s is less than the lab's min of 8 Gbit/s", f.Median/giga)
				}
				r.Paths = append(r.Paths, result)
			}
		}
	}
	lost, cpu := figure("%", 0, 0.4, 0.1, 0.2, 0.3), figure("s/Gbit", 0.4, 0.5, 0.45, 0.42, 0.48)
	datagrams := figure("bit/s", 2.1*giga, 2.3*giga, 2.2*giga, 2.15*giga, 2.25*giga)
	datagrams.Streams, datagrams.Direction, datagrams.LostPercent, datagrams.CPUSeconds, datagrams.Ratio = 1, "forward", &lost, &cpu, 0.41
	r.Paths = append(r.Paths,
		report.Result{ID: "throughput-pod-cross-node", Measures: report.Throughput, Route: checks.RoutePodCrossNode, From: routes[2].from, To: routes[2].to, Protocol: "udp", Expected: report.Reachable, Outcome: report.Pass, Throughput: &datagrams,
			Command: "netlab verify quickstart --throughput=pod-cross-node", DurationMillis: 15020},
		report.Result{ID: "throughput-ingress", Measures: report.Throughput, Route: checks.RouteIngress, From: report.End{Name: "outside client"}, To: report.End{Name: "ingress"}, Protocol: "http", Expected: report.Reachable, Outcome: report.Skip,
			Reason: "the lab has no ingress controller"})
	for _, x := range routes {
		for _, connect := range []bool{false, true} {
			m := x.micros
			if connect {
				m *= 3.2
			}
			l := report.Latency{Connect: connect, Max: m * 19, P50: figure("µs", m*0.98, m, m*1.03), P90: figure("µs", m*1.3, m*1.34, m*1.5),
				P99: figure("µs", m*2.1, m*2.6, m*3.9), PerSecond: figure(report.UnitRequest, 0.97e6/m, 1e6/m, 1.01e6/m)}
			r.Paths = append(r.Paths, report.Result{ID: "latency-" + x.id, Measures: report.LatencyTimes, Route: x.id, From: x.from, To: x.to, Protocol: "tcp", Expected: report.Reachable, Outcome: report.Pass, Observed: answered(x.to), Latency: &l,
				Command: fmt.Sprintf("netlab verify quickstart --latency=%s", x.id), DurationMillis: 9010})
		}
	}
}

func TestEveryFormGolden(t *testing.T) {
	r := sampled(t)
	var text, matrix, coloured, tap, junit, asJSON bytes.Buffer
	for _, err := range []error{r.WriteText(&text, checks.Layout(), false), r.WriteMatrix(&matrix, checks.Layout(), false), r.WriteMatrix(&coloured, checks.Layout(), true), r.WriteTAP(&tap), r.WriteJUnit(&junit), r.WriteJSON(&asJSON)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	plantest.Golden(t, "report-sampled.txt", text.String())
	plantest.Golden(t, "report-sampled-matrix.txt", matrix.String())
	plantest.Golden(t, "report-sampled.tap", tap.String())
	plantest.Golden(t, "report-sampled.xml", junit.String())
	plantest.Golden(t, "report-sampled.json", asJSON.String()) // verify/page draws it

	for _, line := range strings.Split(text.String()+matrix.String(), "\n") {
		if utf8.RuneCountInString(line) > report.Width && !strings.Contains(line, "rerun:") {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
	if plain := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(coloured.String(), ""); plain != matrix.String() {
		t.Error("colour moves the matrix")
	}
	const lost = "left w1 eth0 as VXLAN, never reached w2 eth0"
	for form, out := range map[string]string{"text": text.String(), "matrix": matrix.String(), "TAP": tap.String(), "JUnit": junit.String(), "JSON": asJSON.String()} {
		if !strings.Contains(out, lost) || !strings.Contains(out, "flannel.1") {
			t.Errorf("%s does not carry the evidence", form)
		}
	}
	var back report.Report
	if err := json.Unmarshal(asJSON.Bytes(), &back); err != nil || len(back.Paths) != len(r.Paths) {
		t.Errorf("JSON: %v", err)
	}
	if err := xml.Unmarshal(junit.Bytes(), &report.JunitSuites{}); err != nil {
		t.Errorf("JUnit: %v", err)
	}
}

// TestTAPSyntax reads the stream by the grammar of the TAP 14 specification.
func TestTAPSyntax(t *testing.T) {
	r := sampled(t)
	r.Paths[0].Reason, r.Paths[0].Outcome = "a # in\na \\ reason", report.Skip
	r.Paths[1].From.Name, r.Paths[1].Reason, r.Paths[1].Outcome = "we#ird\\", "two\n...\nlines: - # of it", report.Fail
	var out bytes.Buffer
	if err := r.WriteTAP(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if lines[0] != "TAP version 14" || lines[1] != fmt.Sprintf("1..%d", len(r.Paths)) {
		t.Fatalf("begins %q", lines[:2])
	}
	point := regexp.MustCompile(`^(not )?ok (\d+) - ((?:[^#\\]|\\#|\\\\)+?)( # SKIP ((?:[^#\\]|\\#|\\\\)+))?$`)
	n := 0
	for i := 2; i < len(lines); i++ {
		m := point.FindStringSubmatch(lines[i])
		if m == nil {
			t.Fatalf("line %d is not a test point: %q", i+1, lines[i])
		}
		p := r.Paths[n]
		if n++; m[2] != fmt.Sprint(n) {
			t.Errorf("test %s is number %d", m[2], n)
		}
		if bad := p.Outcome == report.Fail || p.Outcome == report.Broken; bad != (m[1] != "") || (p.Outcome == report.Skip) != (m[4] != "") {
			t.Errorf("%s is reported as %q", p.Outcome, lines[i])
		}
		if i+1 == len(lines) || lines[i+1] != "  ---" {
			if m[1] != "" {
				t.Errorf("no diagnostics: %q", lines[i])
			}
			continue
		}
		var block []string
		for i += 2; lines[i] != "  ..."; i++ {
			if !strings.HasPrefix(lines[i], "  ") {
				t.Fatalf("line %d is not indented: %q", i+1, lines[i])
			}
			block = append(block, lines[i][2:])
		}
		var d map[string]any
		if err := yaml.Unmarshal([]byte(strings.Join(block, "\n")), &d); err != nil {
			t.Fatalf("YAML of test %d: %v\n%s", n, err, strings.Join(block, "\n"))
		}
		if got, _ := d["message"].(string); got != p.Reason {
			t.Errorf("message %q, want %q", got, p.Reason)
		}
		if e, _ := d["evidence"].(map[string]any); p.Evidence != nil && len(e["hops"].([]any)) != len(p.Evidence.Hops) {
			t.Errorf("test %d: hops are missing", n)
		}
	}
	if n != len(r.Paths) {
		t.Errorf("%d tests of %d", n, len(r.Paths))
	}
}

// TestMatrixNumbers: columns that do not fit by name are numbered, with a legend.
func TestMatrixNumbers(t *testing.T) {
	var r report.Report
	for i := range 12 {
		for j := range 12 {
			r.Paths = append(r.Paths, report.Result{ID: checks.NodeToPod, From: report.End{Name: fmt.Sprintf("worker-node-%d", i)}, To: report.End{Name: fmt.Sprintf("echo-worker-node-%d", j)},
				Outcome: []string{report.Pass, report.Fail, report.Broken}[(i+j)%3]})
		}
	}
	var out bytes.Buffer
	if err := r.WriteMatrix(&out, checks.Layout(), false); err != nil {
		t.Fatal(err)
	}
	grid, _, _ := strings.Cut(out.String(), "✓ as expected")
	for _, line := range strings.Split(grid, "\n") {
		if utf8.RuneCountInString(line) > report.Width {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
	if !strings.Contains(grid, "12:echo-worker-node-11") || !strings.Contains(grid, "worker-node-0   ✓  ✗  !") {
		t.Errorf("no legend of the numbers:\n%s", grid)
	}
}
