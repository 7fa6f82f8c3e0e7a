package agent

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// maxSeries and maxRepetitions bound a series.
const (
	maxSeries      = 5 * time.Minute
	maxRepetitions = 10000
)

func (p Probe) series() time.Duration {
	return min(time.Duration(p.ForMillis)*time.Millisecond, maxSeries)
}

// pause is at least so long that a series has no more than maxRepetitions.
func (p Probe) pause() time.Duration {
	return max(time.Duration(p.PauseMillis)*time.Millisecond, p.series()/maxRepetitions)
}

// doSeries repeats a probe for as long as it says, whatever the answers are.
func (p Probe) doSeries(ctx context.Context) Result {
	if p.Parallel {
		return p.steady(ctx)
	}
	if p.Flow {
		p.flow = &flow{}
		defer p.flow.close()
	}
	var answers []Answer
	start := time.Now()
	for len(answers) == 0 || time.Since(start) < p.series() && ctx.Err() == nil {
		answers = append(answers, p.since(ctx, start))
		select {
		case <-ctx.Done():
		case <-time.After(p.pause()):
		}
	}
	return resultOf(answers, time.Since(start))
}

// steady starts a repetition at each pause, whether earlier ones are answered or not: that the target
// is silent does not make the series slower.
func (p Probe) steady(ctx context.Context) Result {
	var wg sync.WaitGroup
	var mutex sync.Mutex
	var answers []Answer
	start, tick := time.Now(), time.NewTicker(p.pause())
	defer tick.Stop()
	for first := true; first || time.Since(start) < p.series() && ctx.Err() == nil; first = false {
		wg.Go(func() {
			a := p.since(ctx, start)
			mutex.Lock()
			defer mutex.Unlock()
			answers = append(answers, a)
		})
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	wg.Wait()
	slices.SortFunc(answers, func(a, b Answer) int { return cmp.Compare(a.AfterMicros, b.AfterMicros) })
	return resultOf(answers, time.Since(start))
}

// since is one repetition of a series that began at start.
func (p Probe) since(ctx context.Context, start time.Time) Answer {
	begin := time.Now()
	a, err := p.once(ctx)
	if a.RTTMicros == 0 {
		a.RTTMicros = time.Since(begin).Microseconds()
	}
	a.AfterMicros, a.Outcome = begin.Sub(start).Microseconds(), outcome(err)
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (p Probe) once(ctx context.Context) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout())
	defer cancel()
	return p.ask(ctx)
}

// flow is the one connection or socket of a series. Its methods work without one: each
// repetition then has its own.
type flow struct {
	transport *http.Transport
	conn      net.Conn
}

// http keeps the transport of the first repetition, which connects once: when that connection
// has ended, so has the flow.
func (f *flow) http(first *http.Transport) *http.Transport {
	if f.transport != nil {
		return f.transport
	}
	f.transport = first
	first.DisableKeepAlives = false
	dial, connect := first.DialContext, sync.Once{}
	first.DialContext = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = errFlowEnded
		connect.Do(func() { conn, err = dial(ctx, network, address) })
		return conn, err
	}
	return first
}

// udp returns the socket, and what to do with it after a repetition.
func (f *flow) udp(dial func() (net.Conn, error)) (conn net.Conn, release func(), err error) {
	if f == nil {
		conn, err = dial()
		return conn, func() { conn.Close() }, err
	}
	if f.conn == nil {
		f.conn, err = dial()
	}
	return f.conn, func() {}, err
}

func (f *flow) close() {
	if f.transport != nil {
		f.transport.CloseIdleConnections()
	}
	if f.conn != nil {
		f.conn.Close()
	}
}
