package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Requests is the latency of small requests, in µs. They are sent at a fixed rate, half of
// what the preceding closed loop reached, and each is timed from the moment at which it was
// due: a wait for the previous one counts, as it would for a user.
type Requests struct {
	PerSecond float64 `json:"perSecond"` // the closed loop: each as soon as the previous one was answered
	Offered   float64 `json:"offered"`   // requests a second of the open loop
	Count     int     `json:"count"`     // timed
	P50       float64 `json:"p50"`
	P90       float64 `json:"p90"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
}

// exchange makes one request and waits for its answer.
type exchange interface {
	once() error
	close()
}

// timeRequests runs a Load of requests: a closed loop for half of the time, then an open
// one. It has a thread to itself.
func timeRequests(ctx context.Context, l Load) (Requests, error) {
	x, err := l.exchange()
	if err != nil {
		return Requests{}, err
	}
	defer x.close()
	// A garbage collection would be timed with the requests, and a request leaves little
	// garbage.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(256 << 20))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// How late a sleep may end: by default 50 µs (PR_SET_TIMERSLACK, prctl(2)).
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	half := time.Duration(max(l.Seconds, 1)) * time.Second / 2

	for range 20 { // warm-up: ARP, connection tracking, caches
		if err := x.once(); err != nil {
			return Requests{}, err
		}
	}
	closed, start := 0, time.Now()
	for time.Since(start) < half && ctx.Err() == nil {
		if err := x.once(); err != nil {
			return Requests{}, err
		}
		closed++
	}
	r := Requests{PerSecond: float64(closed) / time.Since(start).Seconds()}
	r.Offered = r.PerSecond / 2
	took, err := openLoop(ctx, x, r.Offered, half)
	if err != nil {
		return Requests{}, err
	}
	r.Count = len(took)
	r.P50, r.P90, r.P99, r.Max = percentile(took, 50), percentile(took, 90), percentile(took, 99), percentile(took, 100)
	return r, nil
}

// openLoop sends at a fixed rate (per second) for a time, at least once, and returns the
// sorted times in µs from when each request was due to when it was answered.
func openLoop(ctx context.Context, x exchange, rate float64, long time.Duration) ([]float64, error) {
	pause := time.Duration(float64(time.Second) / max(rate, 1))
	count := max(int(long/pause), 1)
	took := make([]float64, 0, count)
	start := time.Now()
	for i := range count {
		due := start.Add(time.Duration(i) * pause)
		waitUntil(due)
		if err := x.once(); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(due).Nanoseconds())/1e3)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	slices.Sort(took)
	return took, nil
}

// spin is the end of a wait that is busy, not slept: a thread does not wake up to the
// microsecond.
const spin = 60 * time.Microsecond

func waitUntil(due time.Time) {
	if left := time.Until(due) - spin; left > 0 {
		nap := unix.NsecToTimespec(left.Nanoseconds())
		unix.Nanosleep(&nap, nil)
	}
	for time.Now().Before(due) {
	}
}

// percentile is the nearest rank of sorted values; 0 for none.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(float64(len(sorted))*p/100+0.9999999) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

func (l Load) exchange() (exchange, error) {
	u, err := url.Parse(l.Target)
	if err != nil || u.Scheme != "http" {
		to, err := netip.ParseAddrPort(l.Target)
		if err != nil {
			return nil, broken{err}
		}
		return &byteExchange{to: to, connect: l.Connect, sock: -1}, nil
	}
	to, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		return nil, broken{err}
	}
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: netlab\r\n", u.RequestURI(), l.Host)
	if l.Connect {
		request += "Connection: close\r\n"
	}
	return &httpExchange{to: to, connect: l.Connect, request: []byte(request + "\r\n"), sock: -1}, nil
}

// byteExchange sends one byte and waits for one.
type byteExchange struct {
	to      netip.AddrPort
	connect bool
	sock    sock
	byte    [1]byte
}

func (x *byteExchange) once() (err error) {
	if x.sock < 0 {
		if x.sock, err = dialSock(x.to); err != nil {
			x.sock = -1
			return err
		}
	}
	if _, err := x.sock.Write(x.byte[:]); err != nil {
		return err
	}
	if _, err := x.sock.Read(x.byte[:]); err != nil {
		return err
	}
	if x.connect {
		x.close()
	}
	return nil
}

func (x *byteExchange) close() {
	if x.sock >= 0 {
		x.sock.Close()
		x.sock = -1
	}
}

// httpExchange requests a page and reads it. It reconnects to a server that closes the
// connection after the answer, as proxies sometimes do.
type httpExchange struct {
	to      netip.AddrPort
	connect bool
	request []byte
	sock    sock
	reader  *bufio.Reader
}

func (x *httpExchange) once() (err error) {
	if x.sock < 0 {
		if x.sock, err = dialSock(x.to); err != nil {
			x.sock = -1
			return err
		}
		if x.reader == nil {
			x.reader = bufio.NewReader(x.sock)
		}
		x.reader.Reset(x.sock)
	}
	if _, err := x.sock.Write(x.request); err != nil {
		return err
	}
	response, err := http.ReadResponse(x.reader, nil)
	if err != nil {
		return garbledError(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: HTTP status %d", errGarbled, response.StatusCode)
	}
	if x.connect || response.Close {
		x.close()
	}
	return nil
}

func (x *httpExchange) close() {
	if x.sock >= 0 {
		x.sock.Close()
		x.sock = -1
	}
}

// answerRequests is the server of a byteExchange: it answers each byte with one.
func answerRequests(l sock) error {
	// A blocked thread keeps its P (GOMAXPROCS) for a while; with enough of them, none waits
	// for another's.
	runtime.GOMAXPROCS(max(4, runtime.NumCPU()))
	for {
		s, err := l.accept()
		if err != nil {
			return err
		}
		go func() {
			defer s.Close()
			var b [1]byte
			for {
				if _, err := s.Read(b[:]); err != nil {
					return
				}
				if _, err := s.Write(b[:]); err != nil {
					return
				}
			}
		}()
	}
}

func hostPort(address, port string) (netip.AddrPort, error) {
	if address == "" {
		address = "0.0.0.0"
	}
	return netip.ParseAddrPort(net.JoinHostPort(address, port))
}
