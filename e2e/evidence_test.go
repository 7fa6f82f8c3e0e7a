package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/providers/providertest"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/verifytest"
)

// evidence: how the packets of every path went, as a report and as files that tshark
// reads, together with measurements.
func (b *lab) evidence(t *testing.T) {
	b.up(t)
	dir := filepath.Join(b.dir, "packets")
	out := b.run(t, 0, "verify", b.name, "-o", "json", "--pcap", dir,
		"--throughput="+strings.Join([]string{checks.RouteNodeToNode, checks.RoutePodCrossNode, checks.RouteLoadBalancer, checks.RouteIngress}, ","),
		"--latency="+strings.Join([]string{checks.RouteClusterIP, checks.RouteIngress}, ","))
	var r report.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	verifytest.Evidence(t, r, verifytest.Way{Encapsulated: true, Inside: "kube-proxy", Outside: "kube-proxy"})
	verifytest.Measured(t, r, checks.RouteNodeToNode, checks.RoutePodCrossNode, checks.RouteLoadBalancer, checks.RouteIngress, checks.RouteClusterIP)
	for _, p := range r.Paths {
		if p.Route == checks.RoutePodCrossNode && p.Throughput != nil && p.Throughput.Ratio <= 0 {
			t.Errorf("%s %s is compared with no baseline", p.ID, p.Protocol)
		}
	}
	t.Run("tshark", func(t *testing.T) { packets(t, r) })
	b.traces(t)
}

// packets: tshark reads the file of a path between Nodes, knows the interfaces by name,
// and finds the tunnel.
func packets(t *testing.T, r report.Report) {
	i := slices.IndexFunc(r.Paths, func(p report.Result) bool { return p.ID == checks.PodToPodCrossNode })
	if i < 0 || r.Paths[i].Evidence == nil || r.Paths[i].Evidence.Pcap == "" {
		t.Fatal("a path between Nodes has no file of packets")
	}
	p := r.Paths[i]
	if _, err := exec.LookPath("tshark"); err != nil && !providertest.Alone() {
		t.Skip("reads packets with tshark, which is not installed")
	}
	// Linux's VXLAN uses a port other than IANA's (ip-link(8)), which tshark has to be passed.
	out, err := exec.Command("tshark", "-r", p.Evidence.Pcap, "-d", "udp.port==8472,vxlan", "-T", "fields", "-e", "frame.interface_name", "-e", "vxlan.vni", "-e", "tcp.flags.syn").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	for _, want := range []string{p.From.Name + "/eth0\t\t1\n", p.From.Node + "/eth0\t1\t1\n", p.To.Node + "/eth0\t1\t1\n", p.To.Name + "/eth0\t\t1\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no packet %q in %s, of which tshark says\n%s", want, p.Evidence.Pcap, out)
		}
	}
}

// traces: single probes by hand, one that arrives and one that is not answered.
func (b *lab) traces(t *testing.T) {
	t.Helper()
	if out := b.run(t, 0, "trace", b.name, "echo-w1", "echo-w2"); !strings.Contains(out, "encapsulated in VXLAN 1, 172.30.0.11 → 172.30.0.12, by CNI") {
		t.Errorf("a trace between Nodes shows no tunnel:\n%s", out)
	}
	if out := b.run(t, 1, "trace", b.name, "client", "echo-w1"); !strings.Contains(out, "lost: ") {
		t.Errorf("a trace without an answer does not show where it ended:\n%s", out)
	}
}
