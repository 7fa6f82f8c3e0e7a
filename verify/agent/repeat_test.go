package agent

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// silentIf answers the datagrams that arrive at an address, but for those that silent reports true
// for, by their number.
func silentIf(t *testing.T, silent func(i int64) bool) (target string, got *atomic.Int64) {
	t.Helper()
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got = &atomic.Int64{}
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			if !silent(got.Add(1) - 1) {
				l.WriteTo([]byte(`{"name":"a"}`), from)
			}
		}
	}()
	return l.LocalAddr().String(), got
}

// A target that never answers is known after a few repetitions; any answer has the rest made too.
func TestParallelIntoSilence(t *testing.T) {
	for _, c := range []struct {
		name    string
		silent  func(i int64) bool
		outcome string
		made    int
	}{
		{"every one", func(int64) bool { return true }, Timeout, probesUntilDead},
		{"one of three", func(i int64) bool { return i%3 == 0 }, Reply, 60},
		{"all but the last of the first", func(i int64) bool { return i < probesUntilDead-1 }, Reply, 60},
		{"none", func(int64) bool { return false }, Reply, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, got := silentIf(t, c.silent)
			r := Probe{Kind: UDP, Target: target, Count: 60, Parallel: true, TimeoutMillis: 1000}.Do(t.Context())
			if r.Outcome != c.outcome || len(r.Answers) != c.made || int(got.Load()) != c.made {
				t.Errorf("%s, %d answers, %d datagrams; want %s, %d", r.Outcome, len(r.Answers), got.Load(), c.outcome, c.made)
			}
		})
	}
}

// Repetitions that wait for an answer delay the others by a quarter of their timeout at most, in the
// time of a synctest bubble: exactly.
func TestParallelTakes(t *testing.T) {
	const timeout = time.Second
	for _, c := range []struct {
		name   string
		silent func(i int) bool
		want   time.Duration
	}{
		// Four at once, the next four a quarter of a timeout later.
		{"every one", func(int) bool { return true }, timeout/4 + timeout},
		// Twenty of sixty, four at once: five times a quarter, the last of them for the whole timeout.
		{"one of three", func(i int) bool { return i%3 == 0 }, 4*timeout/4 + timeout},
		{"none", func(int) bool { return false }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				Probe{TimeoutMillis: int(timeout.Milliseconds())}.parallel(60, func(i int) string {
					if !c.silent(i) {
						return Reply
					}
					time.Sleep(timeout)
					return Timeout
				})
				if took := time.Since(began); took != c.want {
					t.Errorf("takes %s, want %s", took, c.want)
				}
			})
		})
	}
}
