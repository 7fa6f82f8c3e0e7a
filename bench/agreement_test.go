package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// rounds is how often each of two ways to measure takes its turn.
const rounds = 6

// BenchmarkThroughputAgreement compares netlab's figures with iperf3 run by hand, in
// turns: between the same two Pods, and between Nodes against two bare namespaces joined
// by a veth. It reports medians in Gbit/s, and asserts none.
func BenchmarkThroughputAgreement(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("labs require root")
	}
	l := newBenchLab(b, "quickstart")
	text, err := os.ReadFile(l.file)
	if err != nil {
		b.Fatal(err)
	}
	l.file = b.TempDir() + "/lab.yaml"
	if err := os.WriteFile(l.file, []byte(string(text)+"verify: {throughput: {duration: 2s, streams: [1], repeats: 1}}\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	l.run("up", l.file)
	b.Cleanup(func() { l.run("down", l.name) })
	bare := newBare(b)
	b.ResetTimer()
	for range b.N {
		figures := map[string][]float64{}
		for range rounds {
			for route, value := range l.measured(checks.RouteNodeToNode, checks.RoutePodCrossNode) {
				figures["netlab-"+route] = append(figures["netlab-"+route], value)
			}
			figures["hand-pod-cross-node"] = append(figures["hand-pod-cross-node"], l.byHand())
			figures["bare-veth"] = append(figures["bare-veth"], bare.measure())
		}
		for name, values := range figures {
			slices.Sort(values)
			b.ReportMetric((values[rounds/2-1]+values[rounds/2])/2, name+"-Gbit/s")
		}
	}
}

// measured returns what netlab measures by TCP, one stream, the client sending, in Gbit/s.
func (l *benchLab) measured(routes ...string) map[string]float64 {
	l.b.Helper()
	out, _ := l.output("verify", l.name, "-o", "json", "--throughput="+strings.Join(routes, ","))
	var r report.Report
	if err := json.Unmarshal(out, &r); err != nil {
		l.b.Fatal(err)
	}
	found := map[string]float64{}
	for _, p := range r.Paths {
		if p.Throughput != nil && p.Protocol == "tcp" && p.Throughput.Direction == report.Forward {
			found[p.Route] = p.Throughput.Median / 1e9
		}
	}
	return found
}

// byHand runs iperf3 from and to the Pods that netlab measures between.
func (l *benchLab) byHand() float64 {
	l.b.Helper()
	in := func(pod string, args ...string) []string {
		return append([]string{"kubectl", l.name, "--", "exec", "-n", workload.Namespace, pod, "-c", "agent", "--"}, args...)
	}
	server, client := "echo-w1", "echo-w2"
	ip, _ := l.output("kubectl", l.name, "--", "get", "pod", "-n", workload.Namespace, server, "-o", "jsonpath={.status.podIP}")
	// Its server is on a separate port, and exits after one client.
	l.output(in(server, "iperf3", "--server", "--daemon", "--one-off", "--port", "5301")...)
	out, _ := l.output(in(client, "iperf3", "--client", string(ip), "--port", "5301", "--time", "2", "--json")...)
	return gigabits(l.b, out)
}

func gigabits(b *testing.B, said []byte) float64 {
	b.Helper()
	var got struct {
		Error string
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(said, &got); err != nil || got.Error != "" {
		b.Fatalf("iperf3: %v %s\n%s", err, got.Error, said)
	}
	return got.End.Received.BitsPerSecond / 1e9
}

// bare are two network namespaces of our own, joined by a veth, which nothing else uses.
type bare struct{ b *testing.B }

func newBare(b *testing.B) bare {
	for _, name := range []string{"nlt-bare-a", "nlt-bare-b"} {
		exec.Command("ip", "netns", "delete", name).Run() // what a killed benchmark left
	}
	for _, line := range []string{
		"ip netns add nlt-bare-a", "ip netns add nlt-bare-b",
		"ip -n nlt-bare-a link add eth0 type veth peer name eth0 netns nlt-bare-b",
		"ip -n nlt-bare-a addr add 192.0.2.1/24 dev eth0", "ip -n nlt-bare-b addr add 192.0.2.2/24 dev eth0",
		"ip -n nlt-bare-a link set eth0 up", "ip -n nlt-bare-b link set eth0 up",
	} {
		args := strings.Fields(line)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%s: %v %s", line, err, out)
		}
	}
	b.Cleanup(func() {
		for _, name := range []string{"nlt-bare-a", "nlt-bare-b"} {
			if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
				b.Errorf("%v: %s", err, out)
			}
		}
	})
	return bare{b}
}

func (x bare) measure() float64 {
	x.b.Helper()
	server := exec.Command("ip", "netns", "exec", "nlt-bare-b", "iperf3", "--server", "--one-off")
	if err := server.Start(); err != nil {
		x.b.Fatal(err)
	}
	defer func() { server.Process.Kill(); server.Wait() }()
	var out []byte
	var err error
	for range 50 { // until it listens
		out, err = exec.Command("ip", "netns", "exec", "nlt-bare-a", "iperf3", "--client", "192.0.2.2", "--time", "2", "--json").Output()
		if err == nil && !strings.Contains(string(out), "unable to connect") { // it exits with 0 then too
			return gigabits(x.b, out)
		}
		time.Sleep(20 * time.Millisecond)
	}
	x.b.Fatal(fmt.Errorf("iperf3: %w: %s", err, out))
	return 0
}
