package labs

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Expectations of a Path, besides an HTTP status and a DNS response code.
const (
	Reachable = "reachable"
	Denied    = "denied"
)

// Sources of a Path.
const (
	SourcePreserved = "preserved"
	SourceNode      = "node"
)

// Protocols of a Path.
const (
	PathTCP   = "tcp"
	PathUDP   = "udp"
	PathHTTP  = "http"
	PathHTTPS = "https"
	PathDNS   = "dns"
)

func pathProtocols() []string { return []string{PathTCP, PathUDP, PathHTTP, PathHTTPS, PathDNS} }

// responseCodes are those of DNS that a resolver answers with (RFC 1035, RFC 2136).
func responseCodes() []string { return []string{"NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"} }

// expectations are those that are words.
func expectations() []string { return append([]string{Reachable, Denied}, responseCodes()...) }

const (
	pathTimeout    = 2 * time.Second
	maxPathTimeout = 10 * time.Second
	maxPaths       = 500
)

// Fill sets what a path leaves out.
func (p *Path) Fill() {
	setIfZero(&p.Protocol, PathTCP)
	setIfZero(&p.Expect, Reachable)
	setIfZero(&p.Within, Duration{pathTimeout})
	if p.web() {
		setIfZero(&p.Path, "/")
	}
}

func (p Path) web() bool { return p.Protocol == PathHTTP || p.Protocol == PathHTTPS }

// Status is the HTTP status that is expected, 0 for none.
func (p Path) Status() int {
	n, err := strconv.Atoi(string(p.Expect))
	if err != nil {
		return 0
	}
	return n
}

// The kinds of an End. EndObject is a Service, workload or Pod, whichever there is.
const (
	EndObject  = ""
	EndService = "service"
	EndVIP     = "vip"
	EndNode    = "node"
	EndHost    = "host"
	EndIngress = "ingress"
	EndAddress = "address"
	EndName    = "name" // a DNS name, or a host of an Ingress
	EndMachine = "machine"
)

// workloadEnds are the kinds that name a workload.
func workloadEnds() []string { return []string{"pod", "deployment", "statefulset", "daemonset"} }

// End is one end of a Path, as its text names it.
type End struct {
	Kind      string // of the list above, or of a workload: pod, deployment, statefulset, daemonset
	Namespace string // of a Service, workload or Pod
	Name      string
	Port      string // number or name; "" for the protocol's default
}

// ParseEnd reads an end of a path: NAMESPACE/NAME, KIND/NAMESPACE/NAME, node/NAME, host/NAME,
// ingress/HOST, an address or a name, with :PORT behind it.
func ParseEnd(text string) (End, error) {
	e := End{}
	if at := strings.LastIndexByte(text, ':'); at >= 0 {
		text, e.Port = text[:at], text[at+1:]
		if e.Port == "" {
			return e, fmt.Errorf("has no port after the colon")
		}
		if n, err := strconv.Atoi(e.Port); err == nil && (n < 1 || n > 65535) {
			return e, fmt.Errorf("has port %d, which is out of range", n)
		} else if err != nil && !dnsLabel.MatchString(e.Port) {
			return e, fmt.Errorf("has port %q, which is neither a number nor a name", e.Port)
		}
	}
	parts := strings.Split(text, "/")
	if slices.Contains(parts, "") {
		return e, fmt.Errorf("has an empty name")
	}
	switch len(parts) {
	case 1:
		e.Kind, e.Name = EndMachine, parts[0]
		if _, err := netip.ParseAddr(e.Name); err == nil {
			e.Kind = EndAddress
		} else if strings.Contains(e.Name, ".") {
			e.Kind = EndName
		}
	case 2:
		if slices.Contains([]string{EndNode, EndHost, EndIngress}, parts[0]) {
			e.Kind, e.Name = parts[0], parts[1]
		} else {
			e.Namespace, e.Name = parts[0], parts[1]
		}
	case 3:
		kinds := append(workloadEnds(), EndService, EndVIP)
		if !slices.Contains(kinds, parts[0]) {
			return e, fmt.Errorf("has kind %q; kinds: %s", parts[0], strings.Join(kinds, ", "))
		}
		e.Kind, e.Namespace, e.Name = parts[0], parts[1], parts[2]
	default:
		return e, fmt.Errorf("has more than three parts")
	}
	return e, nil
}

// Workload reports whether an end can be one or more Pods.
func (e End) Workload() bool { return e.Kind == EndObject || slices.Contains(workloadEnds(), e.Kind) }

// Probes reports whether a path can start at an end.
func (e End) Probes() bool {
	return e.Workload() || slices.Contains([]string{EndMachine, EndNode, EndHost}, e.Kind)
}
