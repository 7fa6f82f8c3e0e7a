package run

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/observe/observetest"
	"netlab.dev/netlab/verify/plantest"
	"netlab.dev/netlab/verify/report"
)

// TestTracer: a real agent captures its own probe over loopback, answered and not; a machine
// without an agent is reported and does not stop the rest.
func TestTracer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for packet sockets")
	}
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Flannel(), observetest.Healthy(plan))
	dir := t.TempDir()
	from := observe.Ref{Kind: report.AtHost, Name: "client"}
	s, err := w.Station(from)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, s.Socket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	serving(t, agent.Server{Name: "client", Address: "127.0.0.1", HTTP: port, Socket: socket})
	a := newClient(providers.Running{Machines: map[string]providers.Machine{"client": hostMachine{root: dir}}})
	defer a.close()
	tr := newTracer(w, observetest.Healthy(plan), a, filepath.Join(dir, "pcap"))
	probeOf := func(port int) *probing {
		return &probing{main: checks.Ask{Part: checks.PartMain, From: from, Probe: agent.Probe{Kind: agent.HTTP, Target: fmt.Sprintf("http://127.0.0.1:%d/", port)}}, title: "a path/b"}
	}
	answered, refused := probeOf(port), probeOf(1)
	refused.title = "refused"
	if err := tr.run(context.Background(), []*probing{answered, refused}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range answered.evidence.Hops {
		got = append(got, fmt.Sprint(h.Machine, " ", h.Interface, " ", h.Direction, " ", h.Packet))
	}
	want := []string{"client lo out TCP SYN", "client lo in TCP SYN", "client lo out TCP SYN-ACK", "client lo in TCP SYN-ACK"}
	if !slices.Equal(got, want) || answered.evidence.Lost != "" {
		t.Errorf("hops %q, lost %q; want %q", got, answered.evidence.Lost, want)
	}
	if !slices.Contains(answered.evidence.Hidden, "nothing was captured at w1: w1 is off") {
		t.Errorf("hidden %q", answered.evidence.Hidden)
	}
	if info, err := os.Stat(filepath.Join(dir, "pcap", "a_path_b.pcapng")); err != nil || info.Size() < 500 || answered.evidence.Pcap == "" {
		t.Errorf("%v, %v", info, err)
	}
	if lost := refused.evidence.Lost; !strings.Contains(lost, "refused the connection") {
		t.Errorf("a closed port: lost %q", lost)
	}

	// For a path that passes, the evidence is that of a probe that passed.
	var silent atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if silent.Load() {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(server.Close)
	late, failed := probeOf(0), probeOf(0)
	for _, p := range []*probing{late, failed} {
		p.main.Probe.Target, p.main.Probe.TimeoutMillis = server.URL+"/", 300
	}
	late.passes = true
	for _, p := range []*probing{failed, late} {
		silent.Store(true)
		time.AfterFunc(200*time.Millisecond, func() { silent.Store(false) })
		if err := tr.runAll(context.Background(), []*probing{p}); err != nil {
			t.Fatal(err)
		}
		if replied := allReplied(p.result); replied != p.passes || replied != (p.evidence.Lost == "") {
			t.Errorf("a path that passes: %t; its last probe was answered: %t; lost %q", p.passes, replied, p.evidence.Lost)
		}
	}
}

// TestTracerWaits: where all probes run at once, emulated machines get longer to answer.
func TestTracerWaits(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	for want, emulated := range map[time.Duration]bool{time.Second: false, 10 * time.Second: true} {
		plan.Capabilities.Emulated = emulated
		tr, asked := tracer{snapshot: observetest.Snapshot(plan, plantest.Flannel(), observetest.Healthy(plan))}, 0
		for _, p := range checks.Rows(plan, plantest.Flannel()) {
			if p.ID != checks.OutsideToIngressHTTP {
				continue
			}
			asked++
			if got := tr.probing("01", &attempt{Judged: checks.Judged{Row: p}}); got == nil || got.main.Probe.Timeout() != want {
				t.Errorf("%s is probed as %+v, want a timeout of %s", p.To.Name, got, want)
			}
		}
		if asked == 0 {
			t.Error("no path through the ingress")
		}
	}
}

// TestCapturedPorts: the API server's traffic is captured only where a probe goes there.
func TestCapturedPorts(t *testing.T) {
	plan := plantest.Plan(t, "quickstart")
	w := observetest.Snapshot(plan, plantest.Flannel(), observetest.Healthy(plan))
	for target, captured := range map[string]bool{"https://10.96.0.1:443/version": true, "https://172.30.0.10:6443/": true, "http://10.96.1.1:80/": false} {
		probes := []*probing{{main: checks.Ask{Probe: agent.Probe{Kind: agent.HTTP, Target: target}}}}
		if without := (tracer{snapshot: w}).without(probes); slices.Contains(without, plan.Kubernetes.API.Port()) == captured {
			t.Errorf("%s: without %v", target, without)
		}
	}
}
