// Package report is the result of a verification and every form that it is shown in:
// text, matrices, JSON, JUnit, TAP, the Go benchmark format. It takes the result of each path
// and a Layout, which groups them; it contacts no agent and no cluster, and depends on no
// path's id. The HTML page is in report/page.
package report

import (
	"slices"

	"netlab.dev/netlab/verify/trace"
)

// Outcomes of a path. A probe that could not run is broken, and never counts as blocked.
const (
	Pass   = "pass"
	Fail   = "fail"
	Skip   = "skip"
	Broken = "broken"
)

// Expectations of a path.
const (
	Reachable   = "reachable"
	Unreachable = "unreachable"
	Enforced    = "enforced"
	NotEnforced = "not-enforced"
)

// SchemaVersion is that of the JSON of a Report. It increases when a name is removed or
// changes its meaning, not when one is added.
const SchemaVersion = 1

// Report is the result of one verification. Its JSON is a contract with other tools.
type Report struct {
	SchemaVersion int `json:"schemaVersion"` // see SchemaVersion

	Lab        string   `json:"lab"`
	Provider   string   `json:"provider"`
	Kubernetes string   `json:"kubernetes"`
	CNI        CNI      `json:"cni"`
	Notices    []string `json:"notices,omitempty"` // cordoned Nodes, machines that are off, and who announces the VIPs meanwhile
	Sample     *Sample  `json:"sample,omitempty"`  // nil: cross-Node paths were verified between all pairs of Nodes
	Paths      []Result `json:"paths"`
	Summary    Summary  `json:"summary"`

	Software []Software `json:"software,omitempty"` // that the lab was created with, as a lock lists it
}

// Software is a part of a lab's software, with the digest of its content and its source.
type Software struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	From   string `json:"from"`
}

// Sample says between how many of a large lab's pairs of Nodes cross-Node paths were verified.
type Sample struct {
	Pairs int `json:"pairs"`
	Of    int `json:"of"` // a pair counts for each of its two directions
}

// CNI is the Pod network that was verified.
type CNI struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Result is one path: what was expected, what was seen.
type Result struct {
	ID             string     `json:"id"`
	Aliases        []string   `json:"aliases,omitempty"` // earlier ids of the path
	From           End        `json:"from"`
	To             End        `json:"to"`
	Protocol       string     `json:"protocol"`
	Measures       string     `json:"measures,omitempty"` // throughput or latency, of a measurement
	Route          string     `json:"route,omitempty"`    // of a measurement
	Expected       string     `json:"expected"`
	Outcome        string     `json:"outcome"`
	Reason         string     `json:"reason,omitempty"`
	Observed       Observed   `json:"observed"`
	Properties     []Property `json:"properties,omitempty"`
	Evidence       *Evidence  `json:"evidence,omitempty"`   // where its packets were seen
	Throughput     *Figure    `json:"throughput,omitempty"` // of throughput-*
	Latency        *Latency   `json:"latency,omitempty"`    // of latency-*
	Tries          int        `json:"tries,omitempty"`      // how often it was probed
	Command        string     `json:"command"`              // reruns the probe by hand
	DurationMillis int64      `json:"durationMillis"`
}

// End is the source or destination of a path.
type End struct {
	Kind string `json:"kind,omitempty"` // as of a Ref: the kind of object that Name names; "" where a skipped path has none
	Name string `json:"name"`
	Node string `json:"node,omitempty"`
	IP   string `json:"ip,omitempty"`
}

// Observed is what the destination saw, and where the reply came from.
type Observed struct {
	SourceIP  string `json:"sourceIP,omitempty"`
	Backend   string `json:"backend,omitempty"` // several are joined by commas
	Node      string `json:"node,omitempty"`    // that the backend runs on
	RTTMicros int64  `json:"rttMicros,omitempty"`
}

// The evidence of packets, from captures alone.
type (
	Evidence = trace.Evidence // how the packets of one probe went
	Hop      = trace.Hop      // one packet of a probe on one interface
	Outer    = trace.Outer    // the encapsulation of a hop's packet
	Change   = trace.Change   // how a packet changed since the previous hop
)

// Figure is a measured quantity: the median of its samples with its confidence interval.
// A throughput's unit is bit/s. A 95 % interval requires six samples; with fewer it is their
// range, with a lower confidence.
type Figure struct {
	Unit        string    `json:"unit"`
	Median      float64   `json:"median"`
	Low         float64   `json:"low"`
	High        float64   `json:"high"`
	Confidence  float64   `json:"confidence"` // of the interval: 0.95 or more with six samples, 0 with one
	Samples     []float64 `json:"samples"`
	Streams     int       `json:"streams,omitempty"`
	Direction   string    `json:"direction,omitempty"` // forward: client sends; reverse: server sends
	Retransmits *Figure   `json:"retransmits,omitempty"`
	LostPercent *Figure   `json:"lostPercent,omitempty"` // UDP
	CPUSeconds  *Figure   `json:"cpuSecondsPerGigabit,omitempty"`
	CPUMissing  string    `json:"cpuMissing,omitempty"`      // why CPUSeconds is not known
	Offered     float64   `json:"offered,omitempty"`         // UDP: the rate sent, three quarters of what a burst achieved
	Ratio       float64   `json:"ratioToBaseline,omitempty"` // 0 for the baseline itself
}

// Latency is a request/response measurement over one route, times in µs.
type Latency struct {
	Connect   bool    `json:"connect"` // each request on its own connection
	P50       Figure  `json:"p50"`
	P90       Figure  `json:"p90"`
	P99       Figure  `json:"p99"`
	Max       float64 `json:"max"`
	PerSecond Figure  `json:"transactionsPerSecond"`
}

// Property is one assertion about a path, in addition to the plain reply.
type Property struct {
	Key         Key          `json:"key,omitempty"` // what is asserted; "" where no other part reads it
	Name        string       `json:"name"`          // for people
	Expected    string       `json:"expected"`
	Observed    string       `json:"observed"`
	OK          bool         `json:"ok"`
	Step        Step         `json:"step,omitempty"`        // of a policy: the step of the test
	Measurement *Measurement `json:"measurement,omitempty"` // what was measured, where something was
}

// Key identifies what a Property is about.
type Key string

// The keys of properties.
const (
	KeyBackend     Key = "backend"
	KeySource      Key = "source"
	KeyStatus      Key = "status"
	KeyPayload     Key = "payload"
	KeyPorts       Key = "ports"
	KeyCertificate Key = "certificate"
	KeyName        Key = "name"
	KeyRecords     Key = "records"
	KeyVIPPool     Key = "vipPool"
	KeyVIPOwner    Key = "vipOwner"
	KeyDatagram    Key = "datagram"
	KeyProtocols   Key = "protocols"
	KeyAnswered    Key = "answered"
	KeySession     Key = "session"  // of BGP
	KeyPrefixes    Key = "prefixes" // accepted from a BGP peer, separated by spaces
	KeyBFD         Key = "bfd"
	KeyNextHops    Key = "nextHops" // of a router to a VIP, separated by spaces
	KeySpread      Key = "spread"   // next hops that flows took
	KeyCommunities Key = "communities"
	KeyForwarded   Key = "forwardedFor" // client that an Ingress controller tells a backend of
	KeyHealthy     Key = "healthyNodes" // that a load balancer outside the cluster forwards to, separated by spaces
)

// Measurement is one measured value.
type Measurement struct {
	Key   string  `json:"key"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// The keys of measurements.
const (
	MeasuredEffect     = "policyEffect"        // from a policy's creation to its effect
	MeasuredEnd        = "policyEnd"           // from its deletion to the end of its effect
	MeasuredPayload    = "unfragmentedPayload" // of UDP
	MeasuredLabelled   = "labelEffect"         // from a label to its effect under a policy
	MeasuredUnlabelled = "labelRemovalEffect"  // from the label's removal to its effect
	MeasuredDrained    = "drained"             // from a backend's deletion to its last request
	MeasuredLongest    = "longestWait"         // for an answer on a connection
	MeasuredSilence    = "longestSilence"      // of a socket
	MeasuredOutage     = "outage"              // of a failover: without any answer
	MeasuredDisturbed  = "disturbed"           // of a failover: from the first request without an answer to the last
)

// Units of measurements.
const (
	UnitSeconds = "s"
	UnitMillis  = "ms"
	UnitBytes   = "bytes"
)

// Step is one of the four steps of a policy's test.
type Step string

// The steps of a policy, in the order in which they are taken. Before and After are the
// positive controls: without them no reply under the policy would prove nothing.
const (
	StepBefore  Step = "before"
	StepDenied  Step = "denied"
	StepAllowed Step = "allowed"
	StepAfter   Step = "after"
)

// Steps lists the steps of a policy in their order.
func Steps() []Step { return []Step{StepBefore, StepDenied, StepAllowed, StepAfter} }

// What a measurement measures.
const (
	Throughput   = "throughput"
	LatencyTimes = "latency"
)

// BareRoute is the route of measurements that others are compared with: Node to Node, without the CNI.
const BareRoute = "node-to-node"

// The directions of a throughput.
const (
	Forward = "forward" // the client sends
	Reverse = "reverse" // the server sends
)

// Summary counts the outcomes.
type Summary struct {
	Pass   int `json:"pass"`
	Fail   int `json:"fail"`
	Skip   int `json:"skip"`
	Broken int `json:"broken"`
}

// ExitCode is 0 if every path is as expected, else 1. Skipped paths do not count.
func (r Report) ExitCode() int {
	if r.Summary.Fail+r.Summary.Broken > 0 {
		return 1
	}
	return 0
}

// WithoutWays is the report without the evidence of paths that passed.
func (r Report) WithoutWays() Report {
	r.Paths = slices.Clone(r.Paths)
	for i, p := range r.Paths {
		if p.Outcome != Fail && p.Outcome != Broken {
			r.Paths[i].Evidence = nil
		}
	}
	return r
}

// PolicySeconds is the median time from a policy's creation to its effect, 0 where none was
// enforced.
func (r Report) PolicySeconds() float64 {
	var all []float64
	for _, p := range r.Paths {
		if m, ok := p.Measured(MeasuredEffect); ok {
			all = append(all, m.Value)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// Measured returns a measurement of a path other than its figures.
func (p Result) Measured(key string) (Measurement, bool) {
	for _, q := range p.Properties {
		if q.Measurement != nil && q.Measurement.Key == key {
			return *q.Measurement, true
		}
	}
	return Measurement{}, false
}

// Property returns the observed value of a property, "" where the path has none.
func (p Result) Property(key Key) string {
	for _, q := range p.Properties {
		if q.Key == key {
			return q.Observed
		}
	}
	return ""
}

func Summarize(results []Result) Summary {
	var s Summary
	for _, r := range results {
		switch r.Outcome {
		case Pass:
			s.Pass++
		case Fail:
			s.Fail++
		case Skip:
			s.Skip++
		default:
			s.Broken++
		}
	}
	return s
}
