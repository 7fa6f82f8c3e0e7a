package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"netlab.dev/netlab/components/cloud/balancer"
)

// The kinds of a Probe.
const (
	HTTP  = "http"
	HTTPS = "https"
	TCP   = "tcp"
	UDP   = "udp"
	DNS   = "dns"
	MTU   = "mtu"
	Bind  = "bind"
	ARP   = "arp"
	BGP   = "bgp"   // of a router: the session with the peer that is the target
	Route = "route" // of a router: the next hops to the target

	Balancer = "balancer" // of a host with role cloud: the load balancer of the VIP that is the target
)

// The outcomes of a Probe. Broken is about the probe itself, not about the path.
const (
	Reply       = "reply"
	Refused     = "refused"     // actively refused: RST, ICMP port unreachable, port in use
	Timeout     = "timeout"     // no answer
	Unreachable = "unreachable" // no route, ICMP unreachable, a name without an address
	Broken      = "broken"      // the probe could not run
)

// Bounds of an agent's load.
const (
	MaxProbes  = 1000
	maxCount   = 4096
	maxTimeout = 10 * time.Second
	// maxDatagram is the largest payload of UDP over IPv4: 65535 bytes less the headers.
	maxDatagram = 65507
)

// Probe is one request over the network.
type Probe struct {
	Kind   string `json:"kind"`
	Target string `json:"target"` // URL, host:port, name, port or address, by kind

	Host      string `json:"host,omitempty"`      // http, https: Host header; https: also SNI
	Method    string `json:"method,omitempty"`    // http, https: default GET
	Server    string `json:"server,omitempty"`    // dns: host or host:port; default resolv.conf's
	Type      string `json:"type,omitempty"`      // dns: default A
	Interface string `json:"interface,omitempty"` // arp: default the one on the address's network
	Hint      int    `json:"hint,omitempty"`      // mtu: payload in bytes to try first
	Connect   bool   `json:"connect,omitempty"`   // tcp: the connection is the answer, whatever the server sends
	Size      int    `json:"size,omitempty"`      // udp: payload in bytes, at least; sent in fragments beyond the path MTU
	Trace     string `json:"trace,omitempty"`     // http, https, tcp, udp, dns: marks its packets, and returns its Sockets

	// A series: repetitions for some time, in place of Count; one after the other, or with Parallel one
	// every PauseMillis, whether those before are answered or not.
	ForMillis   int  `json:"forMillis,omitempty"`
	PauseMillis int  `json:"pauseMillis,omitempty"` // between two of a series
	Flow        bool `json:"flow,omitempty"`        // http, udp: a series on one connection or socket

	Count         int  `json:"count,omitempty"` // repetitions; default 1
	Parallel      bool `json:"parallel,omitempty"`
	TimeoutMillis int  `json:"timeoutMillis,omitempty"` // of each repetition; default 1000

	sockets *sockets // of a traced repetition
	flow    *flow    // of a series with Flow
}

// Result is the result of a Probe. Outcome is Reply if any repetition was answered, else the
// outcome of the last.
type Result struct {
	Outcome       string   `json:"outcome"`
	Error         string   `json:"error,omitempty"`
	Answers       []Answer `json:"answers"`
	ElapsedMicros int64    `json:"elapsedMicros"`
}

// Answer is one repetition. Which of the later fields are set depends on the kind.
type Answer struct {
	Outcome     string          `json:"outcome"`
	Error       string          `json:"error,omitempty"`
	RTTMicros   int64           `json:"rttMicros"`
	AfterMicros int64           `json:"afterMicros,omitempty"` // of a series: from its start to that of the repetition
	Status      int             `json:"status,omitempty"`      // http
	Seen        *Seen           `json:"seen,omitempty"`
	Certificate *Certificate    `json:"certificate,omitempty"`
	DNS         *DNSAnswer      `json:"dns,omitempty"`
	Payload     int             `json:"payload,omitempty"`  // mtu: largest UDP payload in bytes
	MACs        []string        `json:"macs,omitempty"`     // arp: every station that answered
	Session     *Session        `json:"session,omitempty"`  // bgp
	Hops        *Hops           `json:"hops,omitempty"`     // route
	Balancer    *balancer.State `json:"balancer,omitempty"` // balancer
	Sockets     []Socket        `json:"sockets,omitempty"`  // of a traced probe
}

// Certificate is the leaf certificate of a TLS server.
type Certificate struct {
	SHA256   string   `json:"sha256"`
	DNSNames []string `json:"dnsNames"`
	DER      []byte   `json:"der"`
}

// Args returns the arguments of `netlab agent probe` for the same probe.
func (p Probe) Args() []string {
	args := []string{"agent", "probe", p.Kind, p.Target}
	add := func(flag, value string) {
		if value != "" && value != "0" {
			args = append(args, flag, value)
		}
	}
	add("--host", p.Host)
	add("--method", p.Method)
	add("--server", p.Server)
	add("--type", p.Type)
	add("--interface", p.Interface)
	add("--hint", strconv.Itoa(p.Hint))
	if p.Connect {
		args = append(args, "--connect")
	}
	add("--size", strconv.Itoa(p.Size))
	if p.Count > 1 {
		add("--count", strconv.Itoa(p.Count))
	}
	if p.Parallel {
		args = append(args, "--parallel")
	}
	if p.ForMillis > 0 {
		args = append(args, "--for", p.series().String(), "--pause", p.pause().String())
	}
	if p.Flow {
		args = append(args, "--flow")
	}
	if p.TimeoutMillis != 0 && p.TimeoutMillis != 1000 {
		add("--timeout", p.Timeout().String())
	}
	return args
}

func (p Probe) ask(ctx context.Context) (Answer, error) {
	switch p.Kind {
	case HTTP, HTTPS:
		return p.http(ctx)
	case TCP:
		return p.stream(ctx)
	case UDP:
		return p.datagram(ctx)
	case DNS:
		return p.dns(ctx)
	case MTU:
		return p.mtu(ctx)
	case Bind:
		return p.bind()
	case ARP:
		return p.arp(ctx)
	case BGP:
		return p.session(ctx)
	case Route:
		return p.hops(ctx)
	case Balancer:
		return p.balancer(ctx)
	}
	return Answer{}, broken{fmt.Errorf("unknown kind of probe %q", p.Kind)}
}

// broken marks an error of the probe itself.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// outcome classifies an error of the network. An unknown error counts as broken: it must not
// be taken for a blocked path.
func outcome(err error) string {
	var own broken
	var name *net.DNSError
	var timeout net.Error
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return Reply
	case errors.As(err, &own):
		return Broken
	case is(errBusy, errGarbled, errFlowEnded, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF):
		return Refused
	case is(errNoSession, errNoBalancer, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN,
		syscall.EPERM, syscall.EACCES, syscall.EPROTO, syscall.ENOPROTOOPT):
		return Unreachable
	case is(context.DeadlineExceeded, os.ErrDeadlineExceeded, syscall.ETIMEDOUT),
		errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.As(err, &name):
		return Unreachable
	}
	return Broken
}

func (p Probe) http(ctx context.Context) (Answer, error) {
	u, err := url.Parse(p.Target)
	if err != nil || u.Host == "" || u.Scheme != p.Kind {
		return Answer{}, broken{fmt.Errorf("not a valid %s URL: %q", p.Kind, p.Target)}
	}
	method := p.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, p.Target, nil)
	if err != nil {
		return Answer{}, broken{err}
	}
	req.Host = p.Host
	if p.Trace != "" {
		req.Header.Set("User-Agent", Mark(p.Trace))
	}
	transport := &http.Transport{
		DisableKeepAlives: true, // every repetition uses a new connection, which may reach another backend
		DialContext:       p.dialer().DialContext,
		// The certificate is reported, and judged by the caller.
		TLSClientConfig: &tls.Config{ServerName: p.Host, InsecureSkipVerify: true},
	}
	if p.flow != nil {
		transport = p.flow.http(transport)
	}
	response, err := transport.RoundTrip(req) // a redirect is an answer and is not followed
	if err != nil {
		return Answer{}, garbledError(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: response.StatusCode, Seen: parseSeen(body)}
	if state := response.TLS; state != nil && len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		a.Certificate = &Certificate{SHA256: Fingerprint(leaf.Raw), DNSNames: leaf.DNSNames, DER: leaf.Raw}
	}
	return a, nil
}

// Fingerprint is the SHA-256 of a DER certificate, in hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func (p Probe) stream(ctx context.Context) (Answer, error) {
	conn, err := p.dialer().DialContext(ctx, "tcp", p.Target)
	if err != nil {
		return Answer{}, addressError(err)
	}
	defer conn.Close()
	if p.Connect {
		return Answer{}, nil
	}
	if d, ok := ctx.Deadline(); ok {
		conn.SetDeadline(d)
	}
	body, err := io.ReadAll(io.LimitReader(conn, 64<<10))
	if err != nil {
		return Answer{}, err
	}
	return Answer{Seen: parseSeen(body)}, nil
}

func (p Probe) datagram(ctx context.Context) (Answer, error) {
	conn, release, err := p.flow.udp(func() (net.Conn, error) { return p.dialer().DialContext(ctx, "udp", p.Target) })
	if err != nil {
		return Answer{}, addressError(err)
	}
	defer release()
	if d, ok := ctx.Deadline(); ok {
		conn.SetDeadline(d)
	}
	payload := []byte(Mark(p.Trace))
	if missing := min(p.Size, maxDatagram) - len(payload); missing > 0 {
		payload = append(payload, make([]byte, missing)...)
	}
	if _, err := conn.Write(payload); err != nil {
		return Answer{}, err
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Seen: parseSeen(buf[:n])}, nil
}

// bind tests whether a TCP port is in use in the agent's network namespace: Refused if it
// is, Reply if it is free.
func (p Probe) bind() (Answer, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("", p.Target))
	if errors.Is(err, syscall.EADDRINUSE) {
		return Answer{}, errBusy
	}
	if err != nil {
		return Answer{}, broken{err}
	}
	return Answer{}, l.Close()
}

// garbledError marks an answer that is not HTTP or not TLS: the path works, but something
// else answers.
func garbledError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) || outcome(err) != Broken {
		return err
	}
	return fmt.Errorf("%w: %w", errGarbled, err)
}

// addressError distinguishes an invalid address (broken) from one that does not answer.
func addressError(err error) error {
	var address *net.AddrError
	var parse *net.ParseError
	if errors.As(err, &address) || errors.As(err, &parse) {
		return broken{err}
	}
	return err
}

// parseSeen returns nil for an answer that is not an agent's: an error page, another server.
func parseSeen(body []byte) *Seen {
	var s Seen
	if json.Unmarshal(bytes.TrimSpace(body), &s) != nil || s.Name == "" {
		return nil
	}
	return &s
}
