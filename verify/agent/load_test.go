package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/internal/unixhttp"
)

// TestIperf3Output: outputs of Debian's iperf3 3.12, recorded.
func TestIperf3Output(t *testing.T) {
	text := func(v *float64) string {
		if v == nil {
			return "none"
		}
		return fmt.Sprintf("%.2f", *v)
	}
	for file, want := range map[string]string{
		"iperf3-tcp.json":         "reply 10105865 bit/s, 20971520 bits, 0.00 retransmits, none lost",
		"iperf3-tcp-streams.json": "",
		"iperf3-udp-reverse.json": "reply 3596173 bit/s, 3932160 bits, none retransmits, 70.24 lost",
		"iperf3-udp-streams.json": "reply 10884840 bit/s, 13631488 bits, none retransmits, 0.00 lost",
		"iperf3-refused.json":     "refused: iperf3: unable to connect to server: Connection refused",
		"iperf3-terminated.json":  "refused: iperf3: the server has terminated",
	} {
		said, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		out, err := parseIperf3(said)
		got := fmt.Sprintf("%s %.0f bit/s, %.0f bits, %s retransmits, %s lost", out.Outcome, out.BitsPerSecond, out.Bits, text(out.Retransmits), text(out.LostPercent))
		if err != nil {
			got = outcome(err) + ": " + err.Error()
		}
		if want == "" {
			if out.Outcome != Reply || out.BitsPerSecond <= 0 || out.Retransmits == nil {
				t.Errorf("%s: %s", file, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%s: got  %s\nwant %s", file, got, want)
		}
	}
	for _, said := range []string{"", "iperf3: parameter error - must either be a client (-c) or server (-s)", `{"error": "unable to set TCP_CONGESTION"}`} {
		if _, err := parseIperf3([]byte(said)); outcome(err) != Broken {
			t.Errorf("%q: %v, want broken", said, err)
		}
	}
}

func TestIperf3Args(t *testing.T) {
	for _, c := range []struct {
		load Load
		want string
	}{
		{Load{Kind: LoadTCP, Target: "10.0.0.1:5201", Seconds: 3}, "--client 10.0.0.1 --port 5201 --json --interval 0 --connect-timeout 3000 --parallel 1 --time 3"},
		{Load{Kind: LoadTCP, Target: "10.0.0.1:30000", Seconds: 1, Streams: 4, Reverse: true}, "--client 10.0.0.1 --port 30000 --json --interval 0 --connect-timeout 3000 --parallel 4 --reverse --time 1"},
		{Load{Kind: LoadUDP, Target: "10.0.0.1:5201", Seconds: 1, Streams: 4, Rate: 8e6}, "--client 10.0.0.1 --port 5201 --json --interval 0 --connect-timeout 3000 --parallel 4 --udp --bitrate 2000000 --time 1"},
		{Load{Kind: LoadUDP, Target: "10.0.0.1:5201", Seconds: 1, Blocks: 9}, "--client 10.0.0.1 --port 5201 --json --interval 0 --connect-timeout 3000 --parallel 1 --udp --bitrate 0 --blockcount 9"},
	} {
		args, err := c.load.iperf3Args()
		if got := strings.Join(args, " "); err != nil || got != c.want {
			t.Errorf("got  %s (%v)\nwant %s", got, err, c.want)
		}
	}
}

// TestLoads makes the measurements of netlab's own programs over loopback, through the
// control socket. iperf3 is a fake that prints a recorded output.
func TestLoads(t *testing.T) {
	t.Setenv(asAgent, "1") // the agent runs this executable
	dir := t.TempDir()
	recorded, err := filepath.Abs("testdata/iperf3-tcp.json")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\ncase $1 in --server) echo Server listening on 5201; exec sleep 30;; *) cat " + recorded + ";; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "iperf3"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	socket := filepath.Join(dir, "a.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Server{Name: "a", Address: "127.0.0.1", Load: PortLoad, Socket: socket}.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	waitFor(t, socket)
	client := unixhttp.NewSocketClient(socket)
	ask := func(method, path string, in, out any) int {
		t.Helper()
		body, _ := json.Marshal(in)
		request, _ := http.NewRequestWithContext(ctx, method, "http://agent"+path, strings.NewReader(string(body)))
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode == http.StatusOK {
			if err := json.NewDecoder(response.Body).Decode(out); err != nil {
				t.Fatal(err)
			}
		}
		return response.StatusCode
	}
	const at = "127.0.0.1:5201"
	for _, c := range []struct {
		name, server string
		load         Load
	}{
		{"iperf3", LoadTCP, Load{Kind: LoadTCP, Target: at}},
		{"bulk", LoadHTTP, Load{Kind: LoadHTTP, Target: "http://" + at + "/x", Streams: 2}},
		{"requests", LoadRequests, Load{Kind: LoadRequests, Target: at}},
		{"requests, each with its connection", LoadRequests, Load{Kind: LoadRequests, Target: at, Connect: true}},
		{"HTTP requests", LoadHTTP, Load{Kind: LoadRequests, Target: "http://" + at + "/x", Host: "h"}},
		{"HTTP requests, each with its connection", LoadHTTP, Load{Kind: LoadRequests, Target: "http://" + at + "/x", Connect: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.load.Seconds = 1
			if code := ask("POST", "/load-server", LoadServer{Kind: c.server, Seconds: 20}, &struct{}{}); code != http.StatusOK {
				t.Fatalf("load server: status %d", code)
			}
			var out Loaded
			ask("POST", "/load", c.load, &out)
			var served Served
			ask("DELETE", "/load-server", nil, &served)
			if out.Outcome != Reply {
				t.Fatalf("%+v", out)
			}
			if r := out.Requests; c.load.Kind == LoadRequests {
				if r == nil || r.Count < 1 || r.P50 <= 0 || r.P50 > r.P90 || r.P90 > r.P99 || r.P99 > r.Max || r.PerSecond <= 0 {
					t.Errorf("%+v", r)
				}
			} else if out.BitsPerSecond <= 0 || out.Bits <= 0 {
				t.Errorf("%+v", out)
			}
			var refused Loaded
			if ask("POST", "/load", c.load, &refused); c.server != LoadTCP && refused.Outcome != Refused {
				t.Errorf("without a server: %+v", refused)
			}
			if ask("DELETE", "/load-server", nil, &served); served.CPU.Missing == "" {
				t.Error("a stopped server is stopped again")
			}
		})
	}
	if code := ask("POST", "/load-server", LoadServer{Kind: "smoke", Seconds: 1}, nil); code != http.StatusInternalServerError {
		t.Errorf("an unknown load server: status %d", code)
	}
	var out Loaded
	if ask("POST", "/load", Load{Kind: "smoke"}, &out); out.Outcome != Broken {
		t.Errorf("an unknown load: %+v", out)
	}
	if ask("POST", "/load", Load{Kind: LoadRequests, Target: "nowhere"}, &out); out.Outcome != Broken {
		t.Errorf("no address: %+v", out)
	}
}

// slow answers immediately, except one request that takes long.
type slow struct{ n, at int }

func (s *slow) once() error {
	if s.n++; s.n == s.at {
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func (s *slow) close() {}

// TestOpenLoopCountsWaiting: requests that were due while one took long count their wait
// (coordinated omission): at 1000 a second, some fifty of them after one of 50 ms.
func TestOpenLoopCountsWaiting(t *testing.T) {
	took, err := openLoop(t.Context(), &slow{at: 10}, 1000, 200*time.Millisecond)
	if err != nil || len(took) != 200 {
		t.Fatalf("%d requests, %v", len(took), err)
	}
	late := 0
	for _, micros := range took {
		if micros > 5000 {
			late++
		}
	}
	if late < 30 {
		t.Errorf("%d requests waited for more than 5 ms, want about 45", late)
	}
}

func TestPercentile(t *testing.T) {
	values := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for p, want := range map[float64]float64{50: 5, 90: 9, 99: 10, 100: 10, 1: 1} {
		if got := percentile(values, p); got != want {
			t.Errorf("p%v is %v, want %v", p, got, want)
		}
	}
	if percentile(nil, 50) != 0 {
		t.Error("of nothing")
	}
}

// TestOwnCgroup: where CPU time is counted, on cgroup v1 and v2, on a machine and in a
// container.
func TestOwnCgroup(t *testing.T) {
	const v1 = "1 2 0:1 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n3 2 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	for _, c := range []struct{ name, cgroup, mounts, want string }{
		{"v1", "2:cpuacct:/netlab/q/client\n0::/\n", v1, "/sys/fs/cgroup/cpuacct/netlab/q/client"},
		{"v1, controllers together", "2:cpu,cpuacct:/a\n", "1 2 0:1 / /cg rw - cgroup cgroup rw,cpu,cpuacct\n", "/cg/a"},
		{"v1 container", "2:cpuacct:/kubepods/pod1/c\n", "1 2 0:1 /kubepods/pod1/c /sys/fs/cgroup/cpuacct ro - cgroup cgroup rw,cpuacct\n", "/sys/fs/cgroup/cpuacct"},
		{"v2", "0::/netlab/q/client\n", "1 2 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/netlab/q/client"},
		{"v2 container", "0::/\n", "1 2 0:1 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"},
		{"none", "3:memory:/a\n", "1 2 0:1 / /cg rw - cgroup cgroup rw,memory\n", ""},
	} {
		proc := t.TempDir()
		for name, text := range map[string]string{"cgroup": c.cgroup, "mountinfo": c.mounts} {
			if err := os.WriteFile(filepath.Join(proc, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := ownCgroup(proc); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, want %q (%v)", c.name, got, c.want, err)
		}
	}
	for name, text := range map[string]string{"cpuacct.usage": "1500000000\n", "cpu.stat": "usage_usec 1500000\nuser_usec 1\n"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := cgroupSeconds(dir); err != nil || s != 1.5 {
			t.Errorf("%s: %v s (%v)", name, s, err)
		}
	}
}
