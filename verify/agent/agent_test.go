package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"netlab.dev/netlab/components/outside-dns/nameserver"
)

// asAgent makes the test executable an agent that is started inside a namespace.
const asAgent = "NETLAB_TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		args := os.Args[1:]
		if args[0] == nameserver.Verb {
			os.Exit(nameserver.Main(args[1:], os.Stderr))
		}
		if args[0] == "agent" { // as netlab's own command line has it
			args = args[1:]
		}
		os.Exit(Main(args, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// bench is three namespaces, client – router – server, with no route out. The link to the
// server has a smaller MTU than the client's; the server has a firewall.
//
//	client 10.9.1.2 ── 10.9.1.1 router 10.9.2.1 ──(MTU 1400)── 10.9.2.2 server
type bench struct {
	t      *testing.T
	prefix string
	socket string // of the client's agent
}

func newBench(t *testing.T) bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("requires root, for network namespaces")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("requires the program " + tool)
		}
	}
	b := bench{t: t, prefix: fmt.Sprintf("nlt-verify-%d-", os.Getpid())}
	for _, ns := range []string{"client", "router", "server"} {
		b.run("ip", "netns", "add", b.prefix+ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", b.prefix+ns).Run() })
		b.in(ns, "ip link set lo up")
	}
	b.in("router", "ip link add c type veth peer name eth0 netns "+b.prefix+"client")
	b.in("router", "ip link add s mtu 1400 type veth peer name eth0 mtu 1400 netns "+b.prefix+"server")
	b.in("router", "ip addr add 10.9.1.1/24 dev c", "ip addr add 10.9.2.1/24 dev s", "ip link set c up", "ip link set s up",
		"sysctl -qw net.ipv4.ip_forward=1")
	b.in("client", "ip addr add 10.9.1.2/24 dev eth0", "ip link set eth0 up", "ip route add 10.9.2.0/24 via 10.9.1.1")
	// No route prefers the second address; answers to it must come from it nevertheless.
	b.in("server", "ip addr add 10.9.2.2/24 dev eth0", "ip addr add 10.9.3.3/32 dev lo", "ip link set eth0 up", "ip route add 10.9.1.0/24 via 10.9.2.1")
	b.in("router", "ip route add 10.9.3.3/32 via 10.9.2.2")
	b.in("client", "ip route add 10.9.3.3/32 via 10.9.1.1")
	b.in("server", "nft add table inet fw", "nft add chain inet fw in { type filter hook input priority 0; }",
		"nft add rule inet fw in tcp dport 9001 drop", "nft add rule inet fw in udp dport 9001 drop",
		"nft add rule inet fw in tcp dport 9002 reject with icmp type admin-prohibited")

	dir := t.TempDir()
	names := filepath.Join(dir, "names.json")
	if err := os.WriteFile(names, []byte(`{"internet.outside.test":"10.9.2.2","six.outside.test":"fd00::1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.socket = filepath.Join(dir, "c.sock")
	b.start("client", "serve", "--name", "client", "--socket", b.socket)
	ready := filepath.Join(dir, "s.sock")
	b.start("server", nameserver.Verb, "--names", names)
	b.start("server", "serve", "--name", "web", "--node", "w1", "--ip", "10.9.2.2", "--socket", ready)
	for _, s := range []string{b.socket, ready} {
		waitFor(t, s)
	}
	return b
}

func (b bench) run(argv ...string) string {
	b.t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func (b bench) in(ns string, lines ...string) {
	b.t.Helper()
	for _, line := range lines {
		b.run(append([]string{"ip", "netns", "exec", b.prefix + ns}, strings.Fields(line)...)...)
	}
}

func (b bench) start(ns string, args ...string) {
	b.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", b.prefix + ns, os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), asAgent+"=1")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
}

func waitFor(t *testing.T, socket string) {
	t.Helper()
	for range 100 {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("no agent at %s", socket)
}

// ask sends probes to the client's agent over its control socket, in one request.
func (b bench) ask(probes ...Probe) []Result {
	b.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", b.socket)
		}}}
	body, _ := json.Marshal(Asked{Probes: probes})
	response, err := client.Post("http://agent/probe", "application/json", bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var answered Answered
	if err := json.NewDecoder(response.Body).Decode(&answered); err != nil {
		b.t.Fatal(err)
	}
	if len(answered.Results) != len(probes) {
		b.t.Fatalf("%d results to %d probes", len(answered.Results), len(probes))
	}
	return answered.Results
}

func TestProbes(t *testing.T) {
	b := newBench(t)
	seen := func(r Result) string {
		s := r.Answers[0].Seen
		if s == nil {
			return "nothing"
		}
		return fmt.Sprintf("%s@%s(%s) saw %s", s.Name, s.Node, s.IP, s.Remote)
	}
	const whole = "web@w1(10.9.2.2) saw 10.9.1.2"
	dnsRecords := func(r Result) string {
		d := r.Answers[0].DNS
		return d.Code + fmt.Sprint(d.Values("A"))
	}
	rows := []struct {
		name  string
		probe Probe
		want  string
		check func(Result) string
		value string
	}{
		{"http", Probe{Kind: HTTP, Target: "http://10.9.2.2:8080/one", Host: "a.example"}, Reply, seen, whole},
		{"http host and path", Probe{Kind: HTTP, Target: "http://10.9.2.2:8080/one", Host: "a.example", Method: "POST"}, Reply,
			func(r Result) string { s := r.Answers[0].Seen; return s.Method + " " + s.Host + s.Path }, "POST a.example/one"},
		{"http repeated", Probe{Kind: HTTP, Target: "http://10.9.2.2:8080/", Count: 20, Parallel: true}, Reply,
			func(r Result) string { return fmt.Sprint(len(r.Answers)) }, "20"},
		{"tcp", Probe{Kind: TCP, Target: "10.9.2.2:8081"}, Reply, seen, whole},
		{"udp", Probe{Kind: UDP, Target: "10.9.2.2:8082"}, Reply, seen, whole},
		{"udp in fragments", Probe{Kind: UDP, Target: "10.9.2.2:8082", Size: 3000}, Reply,
			func(r Result) string { return fmt.Sprint(r.Answers[0].Seen.Bytes) }, "3000"},
		{"udp to an address that no route prefers", Probe{Kind: UDP, Target: "10.9.3.3:8082"}, Reply, seen, whole},
		{"http refused", Probe{Kind: HTTP, Target: "http://10.9.2.2:9000/"}, Refused, nil, ""},
		{"tcp refused", Probe{Kind: TCP, Target: "10.9.2.2:9000"}, Refused, nil, ""},
		{"udp refused", Probe{Kind: UDP, Target: "10.9.2.2:9000"}, Refused, nil, ""},
		{"tcp dropped", Probe{Kind: TCP, Target: "10.9.2.2:9001", TimeoutMillis: 200}, Timeout, nil, ""},
		{"udp dropped", Probe{Kind: UDP, Target: "10.9.2.2:9001", TimeoutMillis: 200}, Timeout, nil, ""},
		{"http dropped stops after three", Probe{Kind: HTTP, Target: "http://10.9.2.2:9001/", TimeoutMillis: 100, Count: 50}, Timeout,
			func(r Result) string { return fmt.Sprint(len(r.Answers)) }, "3"},
		{"tcp rejected", Probe{Kind: TCP, Target: "10.9.2.2:9002"}, Unreachable, nil, ""},
		{"no route", Probe{Kind: HTTP, Target: "http://192.0.2.1/"}, Unreachable, nil, ""},
		{"udp without route", Probe{Kind: UDP, Target: "192.0.2.1:8082"}, Unreachable, nil, ""},
		{"no HTTP server", Probe{Kind: HTTPS, Target: "https://10.9.2.2:8080/"}, Refused, nil, ""},
		{"no URL", Probe{Kind: HTTP, Target: "10.9.2.2"}, Broken, nil, ""},
		{"no address", Probe{Kind: TCP, Target: "10.9.2.2"}, Broken, nil, ""},
		{"no kind", Probe{Kind: "smoke"}, Broken, nil, ""},
		{"mtu with a right hint", Probe{Kind: MTU, Target: "10.9.2.2:8082", Hint: 1372}, Reply, payload, "1372"},
		{"mtu with a hint too high", Probe{Kind: MTU, Target: "10.9.2.2:8082", Hint: 1472}, Reply, payload, "1372"},
		{"mtu with a hint too low", Probe{Kind: MTU, Target: "10.9.2.2:8082", Hint: 1000}, Reply, payload, "1372"},
		{"mtu without hint", Probe{Kind: MTU, Target: "10.9.2.2:8082"}, Reply, payload, "1372"},
		{"mtu dropped", Probe{Kind: MTU, Target: "10.9.2.2:9001", TimeoutMillis: 600}, Timeout, nil, ""},
		{"bind a taken port", Probe{Kind: Bind, Target: "8080"}, Refused, nil, ""},
		{"bind a free port", Probe{Kind: Bind, Target: "8099"}, Reply, nil, ""},
		{"arp", Probe{Kind: ARP, Target: "10.9.1.1"}, Reply,
			func(r Result) string { return strings.Join(r.Answers[0].MACs, ",") }, mac(b, "router", "c")},
		{"arp unanswered", Probe{Kind: ARP, Target: "10.9.1.77", TimeoutMillis: 400}, Timeout, nil, ""},
		{"arp off the network", Probe{Kind: ARP, Target: "10.9.2.2"}, Broken, nil, ""},
		{"dns", Probe{Kind: DNS, Target: "internet.outside.test", Server: "10.9.2.2"}, Reply, dnsRecords, "NOERROR[10.9.2.2]"},
		{"dns case", Probe{Kind: DNS, Target: "INTERNET.outside.test.", Server: "10.9.2.2:53"}, Reply, dnsRecords, "NOERROR[10.9.2.2]"},
		{"dns other type", Probe{Kind: DNS, Target: "six.outside.test", Server: "10.9.2.2"}, Reply, dnsRecords, "NOERROR[]"},
		{"dns AAAA", Probe{Kind: DNS, Target: "six.outside.test", Server: "10.9.2.2", Type: "AAAA"}, Reply,
			func(r Result) string { return fmt.Sprint(r.Answers[0].DNS.Values("AAAA")) }, "[fd00::1]"},
		{"dns unknown name", Probe{Kind: DNS, Target: "nosuch.outside.test", Server: "10.9.2.2"}, Reply, dnsRecords, "NXDOMAIN[]"},
		{"dns other zone", Probe{Kind: DNS, Target: "example.com", Server: "10.9.2.2"}, Reply, dnsRecords, "NXDOMAIN[]"},
		{"dns server gone", Probe{Kind: DNS, Target: "a.test", Server: "10.9.1.1", TimeoutMillis: 300}, Refused, nil, ""},
		{"dns bad type", Probe{Kind: DNS, Target: "a.test", Server: "10.9.2.2", Type: "ZZ"}, Broken, nil, ""},
	}
	var probes []Probe
	for _, row := range rows {
		if row.probe.TimeoutMillis == 0 {
			row.probe.TimeoutMillis = 3000
		}
		probes = append(probes, row.probe)
	}
	for i, r := range b.ask(probes...) {
		t.Run(rows[i].name, func(t *testing.T) {
			if r.Outcome != rows[i].want {
				t.Fatalf("outcome %s (%s), want %s", r.Outcome, r.Error, rows[i].want)
			}
			if r.Outcome != Reply && r.Error == "" {
				t.Error("no reply, and no error with the reason")
			}
			if rows[i].check != nil {
				if got := rows[i].check(r); got != rows[i].value {
					t.Errorf("got %q, want %q", got, rows[i].value)
				}
			}
			if r.Outcome == Reply && r.Answers[0].RTTMicros < 0 {
				t.Error("no time measured")
			}
		})
	}
	t.Run("mtu of a path that drops silently", func(t *testing.T) {
		b.in("router", "nft add table ip hole", "nft add chain ip hole lossy { type filter hook forward priority 0; }",
			"nft add rule ip hole lossy udp dport 8082 meta length > 1028 drop")
		r := b.ask(Probe{Kind: MTU, Target: "10.9.2.2:8082", Hint: 1372, TimeoutMillis: 3000})[0]
		if r.Outcome != Reply || payload(r) != "1000" {
			t.Errorf("outcome %s (%s), payload %s, want 1000", r.Outcome, r.Error, payload(r))
		}
	})
	t.Run("two stations claim one address", func(t *testing.T) {
		b.in("router", "ip link add br0 type bridge", "ip link set br0 up",
			"ip link add t1 type veth peer name eth9 netns "+b.prefix+"client", "ip link add t2 type veth peer name eth9 netns "+b.prefix+"server",
			"ip link set t1 master br0", "ip link set t2 master br0", "ip link set t1 up", "ip link set t2 up",
			"ip addr add 10.9.9.9/24 dev br0")
		b.in("server", "ip link set eth9 up", "ip addr add 10.9.9.9/24 dev eth9")
		b.in("client", "ip link set eth9 up", "ip addr add 10.9.9.1/24 dev eth9")
		want := []string{mac(b, "router", "br0"), mac(b, "server", "eth9")}
		slices.Sort(want)
		r := b.ask(Probe{Kind: ARP, Target: "10.9.9.9", TimeoutMillis: 2000})[0]
		if r.Outcome != Reply || !slices.Equal(r.Answers[0].MACs, want) {
			t.Errorf("%s: %v, want %v", r.Outcome, r.Answers[0].MACs, want)
		}
	})
	t.Run("from the command line", func(t *testing.T) {
		cmd := exec.Command("ip", "netns", "exec", b.prefix+"client", os.Args[0], "probe", "http", "http://10.9.2.2:8080/x", "--timeout", "2s")
		cmd.Env = append(os.Environ(), asAgent+"=1")
		out, err := cmd.Output()
		var r Result
		if err != nil || json.Unmarshal(out, &r) != nil || seen(r) != whole {
			t.Errorf("%v\n%s", err, out)
		}
		cmd = exec.Command("ip", "netns", "exec", b.prefix+"client", os.Args[0], "probe", "--timeout", "2s")
		cmd.Env = append(os.Environ(), asAgent+"=1")
		if cmd.Run(); cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("wrong usage exits with %d, want 2", cmd.ProcessState.ExitCode())
		}
	})
}

func payload(r Result) string { return fmt.Sprint(r.Answers[0].Payload) }

func mac(b bench, ns, link string) string {
	return strings.TrimSpace(b.run("ip", "netns", "exec", b.prefix+ns, "cat", "/sys/class/net/"+link+"/address"))
}

// TestArgs: the command line parses what Args writes.
func TestArgs(t *testing.T) {
	p := Probe{Kind: HTTPS, Target: "https://10.9.2.2/one", Host: "a.example", Method: "POST", Count: 3, Parallel: true, TimeoutMillis: 250}
	want := "agent probe https https://10.9.2.2/one --host a.example --method POST --count 3 --parallel --timeout 250ms"
	if got := strings.Join(p.Args(), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	q, err := parseProbe(p.Args()[2:], io.Discard)
	if err != nil || q != p {
		t.Errorf("read back as %+v, %v", q, err)
	}
}

// TestOutcome: what an agent does not understand is broken, never a blocked path.
func TestOutcome(t *testing.T) {
	rows := []struct {
		err  error
		want string
	}{
		{nil, Reply},
		{fmt.Errorf("x: %w", syscall.ECONNREFUSED), Refused},
		{io.EOF, Refused},
		{context.DeadlineExceeded, Timeout},
		{os.ErrDeadlineExceeded, Timeout},
		{syscall.EHOSTUNREACH, Unreachable},
		{&net.DNSError{IsNotFound: true}, Unreachable},
		{&net.DNSError{IsTimeout: true}, Timeout},
		{broken{context.DeadlineExceeded}, Broken},
		{syscall.EMFILE, Broken},
		{syscall.EADDRNOTAVAIL, Broken},
		{errors.New("anything else"), Broken},
	}
	for _, r := range rows {
		if got := outcome(r.err); got != r.want {
			t.Errorf("%v: %s, want %s", r.err, got, r.want)
		}
	}
}
