package agent

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxSeries bounds a series.
const maxSeries = 5 * time.Minute

func (p Probe) series() time.Duration {
	return min(time.Duration(p.ForMillis)*time.Millisecond, maxSeries)
}

// pause is at least so long that a series has no more than maxCount repetitions.
func (p Probe) pause() time.Duration {
	return max(time.Duration(p.PauseMillis)*time.Millisecond, p.series()/maxCount)
}

// doSeries repeats a probe for as long as it says, whatever the answers are.
func (p Probe) doSeries(ctx context.Context) Result {
	if p.Flow {
		p.flow = &flow{}
		defer p.flow.close()
	}
	var answers []Answer
	start := time.Now()
	for len(answers) == 0 || time.Since(start) < p.series() && ctx.Err() == nil {
		begin := time.Now()
		a, err := p.once(ctx)
		if a.RTTMicros == 0 {
			a.RTTMicros = time.Since(begin).Microseconds()
		}
		a.AfterMicros, a.Outcome = begin.Sub(start).Microseconds(), outcome(err)
		if err != nil {
			a.Error = err.Error()
		}
		answers = append(answers, a)
		select {
		case <-ctx.Done():
		case <-time.After(p.pause()):
		}
	}
	return resultOf(answers, time.Since(start))
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
