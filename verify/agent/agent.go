// Package agent is the client and the server of every verification probe. It runs in Pods
// and in outside hosts as `netlab agent serve`: it answers HTTP, TCP and UDP with its name
// and what it saw of the request, and takes probe requests on a unix socket, so that
// reaching it never depends on the network under test. `netlab agent probe` makes the same
// probe from a command line. It knows little of Kubernetes and draws no conclusions; verify
// does. Other services of outside hosts are separate programs.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// The data ports in Pods and outside hosts, each of which has its own network namespace.
// PortLoad is where the server of a measurement listens, on TCP and UDP, while there is one.
const (
	PortHTTP = 8080
	PortTCP  = 8081
	PortUDP  = 8082
	PortLoad = 5201
)

// The same ports in the network namespace of a Node, which the user's Pods share (hostNetwork,
// hostPort): unassigned by IANA, below the NodePorts (30000-32767) and Linux's local ports
// (32768-60999), and used by no component.
const (
	HostNetworkHTTP = 29640
	HostNetworkTCP  = 29641
	HostNetworkUDP  = 29642
	HostNetworkLoad = 29643
)

// Environment variables that replace flags of `serve`.
const (
	EnvName   = "NETLAB_AGENT_NAME"
	EnvNode   = "NETLAB_AGENT_NODE"
	EnvIP     = "NETLAB_AGENT_IP"
	EnvSocket = "NETLAB_AGENT_SOCKET"
)

const usage = `usage:
  netlab agent serve [--name NAME] [--node NODE] [--ip IP] [--socket PATH]
  netlab agent probe KIND TARGET [flags]
  netlab agent load LOAD
  netlab agent load-server http|requests [--address IP] [--port PORT]

kinds and their targets:
  http, https  a URL            tcp, udp  host:port        dns  a name
  mtu          host:udp-port    bind      a TCP port       arp  an IPv4 address
  bgp          a peer of this router                       route  an IPv4 address or prefix
`

// Main runs the hidden verb `netlab agent` and returns the exit code: 0; 1 where a probe got
// no reply or a server stopped with an error; 2 for wrong usage.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch args[0] {
	case "serve":
		return serveMain(ctx, args[1:], stderr)
	case "probe":
		return probeMain(ctx, args[1:], stdout, stderr)
	case "visit":
		return visitMain(ctx, args[1:], os.Stdin, stdout, stderr)
	case "load":
		return loadMain(ctx, args[1:], stdout, stderr)
	case "load-server":
		return loadServerMain(ctx, args[1:], stdout, stderr)
	default:
		fmt.Fprintf(stderr, "unknown agent verb %q\n%s", args[0], usage)
		return 2
	}
}

func serveMain(ctx context.Context, args []string, stderr io.Writer) int {
	host, _ := os.Hostname()
	s := Server{}
	flags := flag.NewFlagSet("agent serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.Name, "name", envOr(EnvName, host), "name of the Pod or host")
	flags.StringVar(&s.Node, "node", os.Getenv(EnvNode), "Node that it runs on")
	flags.StringVar(&s.IP, "ip", os.Getenv(EnvIP), "its own address")
	flags.StringVar(&s.Socket, "socket", os.Getenv(EnvSocket), "unix socket of the control server; none when empty")
	flags.StringVar(&s.Address, "address", "", "address that the data ports bind to; all when empty")
	flags.IntVar(&s.HTTP, "http", PortHTTP, "HTTP port; 0 for none")
	flags.IntVar(&s.TCP, "tcp", PortTCP, "TCP port; 0 for none")
	flags.IntVar(&s.UDP, "udp", PortUDP, "UDP port; 0 for none")
	flags.IntVar(&s.Load, "load", PortLoad, "port of the far end of measurements, while there is one")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	// An agent is idle most of the time and there are several per Node: save memory rather
	// than CPU.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func probeMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p, err := parseProbe(args, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "%v\n%s", err, usage)
		return 2
	}
	result := p.Do(ctx)
	out := json.NewEncoder(stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(result); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if result.Outcome != Reply {
		return 1
	}
	return 0
}

// parseProbe reads "KIND TARGET flags"; the target may stand after the flags too.
func parseProbe(args []string, stderr io.Writer) (Probe, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return Probe{}, errors.New("a probe requires a kind")
	}
	p := Probe{Kind: args[0]}
	flags := flag.NewFlagSet("agent probe", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&p.Host, "host", "", "http: Host header; https: also the server name (SNI)")
	flags.StringVar(&p.Method, "method", "", "http: method (default GET)")
	flags.StringVar(&p.Server, "server", "", "dns: server, host or host:port (default that of resolv.conf)")
	flags.StringVar(&p.Type, "type", "", "dns: record type (default A)")
	flags.StringVar(&p.Interface, "interface", "", "arp: interface (default the one on the address's network)")
	flags.IntVar(&p.Hint, "hint", 0, "mtu: payload in bytes to try first")
	flags.BoolVar(&p.Connect, "connect", false, "tcp: the connection is the answer, whatever the server sends")
	flags.IntVar(&p.Size, "size", 0, "udp: payload in bytes, sent in fragments beyond the path MTU")
	flags.IntVar(&p.Count, "count", 1, "repetitions")
	flags.BoolVar(&p.Parallel, "parallel", false, "repeat in parallel")
	series := flags.Duration("for", 0, "repeat for this long, in place of --count")
	pause := flags.Duration("pause", 0, "time between two repetitions of --for")
	flags.BoolVar(&p.Flow, "flow", false, "http, udp: --for on one connection or socket")
	timeout := flags.Duration("timeout", time.Second, "time for each repetition")
	rest := args[1:]
	if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		p.Target, rest = rest[0], rest[1:]
	}
	if err := flags.Parse(rest); err != nil {
		return Probe{}, err
	}
	rest = flags.Args()
	if p.Target == "" && len(rest) > 0 {
		p.Target, rest = rest[0], rest[1:]
	}
	if p.Target == "" || len(rest) > 0 {
		return Probe{}, errors.New("a probe requires exactly one target")
	}
	p.TimeoutMillis = int(timeout.Milliseconds())
	p.ForMillis, p.PauseMillis = int(series.Milliseconds()), int(pause.Milliseconds())
	return p, nil
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

var (
	errBusy      = errors.New("address already in use")  // what `bind` tests
	errGarbled   = errors.New("the answer is not valid") // a server of another protocol
	errFlowEnded = errors.New("the connection ended")    // of a series on one connection
)
