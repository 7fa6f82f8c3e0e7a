package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"netlab.dev/netlab/labs"
)

// The kinds of a Load and of its LoadServer. LoadRequests sends small requests: single bytes
// over TCP or, where the target is a URL, HTTP.
const (
	LoadTCP      = "tcp" // iperf3
	LoadUDP      = "udp" // iperf3
	LoadHTTP     = "http"
	LoadRequests = "requests"
)

// maxLoad bounds one measurement.
const maxLoad = 11 * time.Minute

// Load is one measurement, made by a client against the LoadServer of its kind.
type Load struct {
	Kind    string    `json:"kind"`
	Target  string    `json:"target"`            // host:port, or a URL
	Host    string    `json:"host,omitempty"`    // Host header, where the target is a URL
	Seconds int       `json:"seconds"`           // 1 at least
	Streams int       `json:"streams,omitempty"` // at a time; default 1
	Reverse bool      `json:"reverse,omitempty"` // the server sends; LoadHTTP always does
	Rate    labs.Rate `json:"rate,omitempty"`    // udp: of all streams together; 0: unlimited
	Blocks  int       `json:"blocks,omitempty"`  // udp: datagrams to send, in place of Seconds
	Connect bool      `json:"connect,omitempty"` // requests: each on its own connection
}

// Loaded is the result of a Load. Its outcome is Reply where it was measured.
type Loaded struct {
	Outcome       string    `json:"outcome"`
	Error         string    `json:"error,omitempty"`
	BitsPerSecond float64   `json:"bitsPerSecond,omitempty"` // received
	Bits          float64   `json:"bits,omitempty"`          // received
	Retransmits   *float64  `json:"retransmits,omitempty"`   // tcp, as the sender's kernel counts
	LostPercent   *float64  `json:"lostPercent,omitempty"`   // udp
	CPU           CPU       `json:"cpu"`                     // of this agent
	Requests      *Requests `json:"requests,omitempty"`
}

// LoadServer is the server of a Load.
type LoadServer struct {
	Kind    string `json:"kind"`
	Seconds int    `json:"seconds"` // after which it stops by itself
}

// Served is what a LoadServer used between its start and its end.
type Served struct {
	CPU CPU `json:"cpu"`
}

// loadServerArgv is the command line of the server's program. It is a separate program: the
// agent itself runs with little memory and one thread, which would limit a measurement.
func (s Server) loadServerArgv(kind string) ([]string, error) {
	port := strconv.Itoa(s.Load)
	switch kind {
	case LoadTCP, LoadUDP:
		return []string{"iperf3", "--server", "--port", port, "--forceflush"}, nil
	case LoadHTTP, LoadRequests:
		self, err := os.Executable()
		return []string{self, "agent", "load-server", kind, "--address", s.Address, "--port", port}, err
	}
	return nil, fmt.Errorf("unknown kind of load %q", kind)
}

// measure makes a measurement as a client. Its error means that it could not be made.
func measure(ctx context.Context, l Load) Loaded {
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(l.Seconds)*time.Second+15*time.Second, maxLoad))
	defer cancel()
	var out Loaded
	var err error
	switch l.Kind {
	case LoadTCP, LoadUDP:
		out, err = loadIperf3(ctx, l)
	case LoadHTTP, LoadRequests:
		out, err = loadSelf(ctx, l)
	default:
		err = broken{fmt.Errorf("unknown kind of load %q", l.Kind)}
	}
	if err != nil {
		out.Outcome, out.Error = outcome(err), err.Error()
		if ctx.Err() != nil {
			out.Outcome, out.Error = Timeout, fmt.Sprintf("no result after %d s and 15 more", l.Seconds)
		}
	}
	return out
}

func loadIperf3(ctx context.Context, l Load) (Loaded, error) {
	args, err := l.iperf3Args()
	if err != nil {
		return Loaded{}, broken{err}
	}
	before := ownCPU()
	said, err := output(ctx, append([]string{"iperf3"}, args...))
	used := ownCPU().since(before)
	if err != nil && len(said) == 0 {
		return Loaded{}, broken{err}
	}
	out, err := parseIperf3(said)
	out.CPU = used
	return out, err
}

// loadSelf runs `netlab agent load`, whose output is a Loaded.
func loadSelf(ctx context.Context, l Load) (Loaded, error) {
	self, err := os.Executable()
	if err != nil {
		return Loaded{}, broken{err}
	}
	own := ownCPU() // whether it is known: the program reads only the value
	words, err := json.Marshal(l)
	if err != nil {
		return Loaded{}, broken{err}
	}
	said, err := output(ctx, []string{self, "agent", "load", string(words)})
	var out Loaded
	if parse := json.Unmarshal(said, &out); parse != nil {
		return Loaded{}, broken{fmt.Errorf("%s agent load: %w", self, errors.Join(err, parse))}
	}
	if own.Missing != "" {
		out.CPU = own
	}
	return out, nil
}
