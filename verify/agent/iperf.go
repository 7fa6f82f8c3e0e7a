package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"netlab.dev/netlab/labs"
)

// iperf3Args returns the arguments of the iperf3 client for a Load. Intermediate figures are
// off; -b is per stream.
func (l Load) iperf3Args() ([]string, error) {
	host, port, err := net.SplitHostPort(l.Target)
	if err != nil {
		return nil, err
	}
	streams := max(l.Streams, 1)
	args := []string{"--client", host, "--port", port, "--json", "--interval", "0", "--connect-timeout", "3000",
		"--parallel", strconv.Itoa(streams)}
	if l.Reverse {
		args = append(args, "--reverse")
	}
	if l.Kind == LoadUDP {
		args = append(args, "--udp", "--bitrate", strconv.FormatInt(int64(l.Rate)/int64(streams), 10))
	}
	if l.Blocks > 0 {
		return append(args, "--blockcount", strconv.Itoa(l.Blocks)), nil
	}
	return append(args, "--time", strconv.Itoa(max(l.Seconds, 1))), nil
}

// iperf3Output is the used part of `iperf3 --json` (3.12, src/iperf_api.c). It exits with 0
// even when it reports an error.
type iperf3Output struct {
	Error string `json:"error"`
	End   struct {
		Sent     iperf3Sum `json:"sum_sent"`
		Received iperf3Sum `json:"sum_received"`
		Sum      iperf3Sum `json:"sum"` // udp: with the receiver's losses
	} `json:"end"`
}

type iperf3Sum struct {
	Bytes         float64  `json:"bytes"`
	BitsPerSecond float64  `json:"bits_per_second"`
	Retransmits   *float64 `json:"retransmits"`
	Packets       float64  `json:"packets"`
	LostPercent   *float64 `json:"lost_percent"`
}

func parseIperf3(said []byte) (Loaded, error) {
	var got iperf3Output
	if err := json.Unmarshal(said, &got); err != nil {
		return Loaded{}, broken{fmt.Errorf("iperf3 printed no JSON: %w: %.200q", err, said)}
	}
	if got.Error != "" {
		return Loaded{}, iperf3Error(got.Error)
	}
	received := got.End.Received
	return Loaded{Outcome: Reply, BitsPerSecond: received.BitsPerSecond, Bits: 8 * received.Bytes,
		Retransmits: got.End.Sent.Retransmits, LostPercent: got.End.Sum.LostPercent}, nil
}

// iperf3Error distinguishes errors of the network from those of iperf3 itself. It has only
// the text of the message.
func iperf3Error(text string) error {
	err := errors.New("iperf3: " + strings.TrimPrefix(text, "error - "))
	for _, sign := range []struct {
		words string
		kind  error
	}{
		{"Connection refused", syscall.ECONNREFUSED},
		{"Connection reset", syscall.ECONNREFUSED},
		{"No route to host", syscall.EHOSTUNREACH},
		{"Network is unreachable", syscall.EHOSTUNREACH},
		{"timed out", context.DeadlineExceeded},
		{"Operation now in progress", context.DeadlineExceeded},
		{"unable to connect", context.DeadlineExceeded},
		{"unable to receive", syscall.ECONNREFUSED},
		{"unable to send", syscall.ECONNREFUSED},
		{"unable to read from stream", syscall.ECONNREFUSED},
		{"unable to write to stream", syscall.ECONNREFUSED},
		{"control socket has closed", syscall.ECONNREFUSED},
		{"server has terminated", syscall.ECONNREFUSED},
		{"idle timeout", context.DeadlineExceeded},
	} {
		if strings.Contains(text, sign.words) {
			return networkError{err, sign.kind}
		}
	}
	return broken{err}
}

// networkError is an error that outcome classifies by its kind.
type networkError struct {
	error
	kind error
}

func (n networkError) Unwrap() error { return n.kind }

// UDPRate leaves a quarter of what a path carried in a burst unused.
func UDPRate(bore float64) labs.Rate { return labs.Rate(bore * 3 / 4) }
