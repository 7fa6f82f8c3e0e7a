package agent

import (
	"cmp"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A series goes on whatever is answered; with Flow it has one connection, and ends with it.
func TestSeries(t *testing.T) {
	var connections, requests atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Write([]byte(`{"name": "server", "remote": "127.0.0.1"}`))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	p := Probe{Kind: HTTP, Target: server.URL, ForMillis: 100, PauseMillis: 10, TimeoutMillis: 500}

	r := p.Do(t.Context())
	if n := len(r.Answers); r.Outcome != Reply || n < 3 || int(connections.Load()) != n {
		t.Errorf("%s: %d repetitions on %d connections", r.Outcome, n, connections.Load())
	}
	for i, a := range r.Answers[1:] {
		if a.AfterMicros <= r.Answers[i].AfterMicros {
			t.Errorf("repetition %d is %d µs after the start", i+1, a.AfterMicros)
		}
	}

	connections.Store(0)
	p.Flow = true
	if r = p.Do(t.Context()); len(r.Answers) < 3 || connections.Load() != 1 {
		t.Errorf("a flow of %d repetitions has %d connections", len(r.Answers), connections.Load())
	}

	p.ForMillis = 3000 // long enough for two answers, then the cut
	requests.Store(0)
	go func() {
		for requests.Load() < 3 {
			time.Sleep(time.Millisecond)
		}
		server.CloseClientConnections()
	}()
	r = p.Do(t.Context())
	last := r.Answers[len(r.Answers)-1]
	if r.Answers[0].Outcome != Reply || last.Outcome != Refused || !strings.Contains(last.Error, errFlowEnded.Error()) {
		t.Errorf("after its connection was cut a flow ends with %s %q", last.Outcome, last.Error)
	}
}

// A steady series starts repetitions however long those before take.
func TestSteadySeries(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		<-r.Context().Done() // no answer
	}))
	defer server.Close()
	p := Probe{Kind: HTTP, Target: server.URL, ForMillis: 1000, PauseMillis: 50, TimeoutMillis: 900, Parallel: true}
	r := p.Do(t.Context())
	if n := len(r.Answers); r.Outcome != Timeout || n < 5 || n > 20 || int(requests.Load()) < 5 {
		t.Errorf("%s: %d repetitions, %d requests", r.Outcome, n, requests.Load())
	}
	if !slices.IsSortedFunc(r.Answers, func(a, b Answer) int { return cmp.Compare(a.AfterMicros, b.AfterMicros) }) {
		t.Error("the repetitions are not in their order")
	}
}

// A flow over UDP has one source port.
func TestSeriesUDP(t *testing.T) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	from := make(chan string, 1000)
	go func() {
		buf := make([]byte, 100)
		for {
			_, client, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			from <- client.String()
			socket.WriteTo([]byte(`{"name": "server", "remote": "x"}`), client)
		}
	}()
	for _, flow := range []bool{true, false} {
		p := Probe{Kind: UDP, Target: socket.LocalAddr().String(), ForMillis: 400, PauseMillis: 10, TimeoutMillis: 500, Flow: flow}
		r := p.Do(t.Context())
		clients := map[string]bool{}
		for range r.Answers {
			clients[<-from] = true
		}
		if r.Outcome != Reply || len(r.Answers) < 3 || (len(clients) == 1) != flow {
			t.Errorf("flow %t: %d repetitions from %v", flow, len(r.Answers), clients)
		}
	}
}
