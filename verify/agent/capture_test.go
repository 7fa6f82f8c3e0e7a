package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"netlab.dev/netlab/internal/unixhttp"
)

// capturing is a capture by the client's agent, received over its control socket.
type capturing struct {
	t    *testing.T
	body *io.PipeWriter
	in   *json.Decoder
}

func (b bench) capture(asked Capture) (capturing, Ready) {
	b.t.Helper()
	client := unixhttp.NewSocketClient(b.socket)
	reader, writer := io.Pipe()
	go json.NewEncoder(writer).Encode(asked)
	response, err := client.Post("http://agent/capture", "application/json", reader)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { writer.Close(); response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		b.t.Fatalf("%s: %s", response.Status, text)
	}
	c := capturing{b.t, writer, json.NewDecoder(response.Body)}
	first := c.next()
	if first.Ready == nil {
		b.t.Fatalf("the first value is %+v", first)
	}
	return c, *first.Ready
}

func (c capturing) next() Captured {
	c.t.Helper()
	var got Captured
	if err := c.in.Decode(&got); err != nil {
		c.t.Fatal(err)
	}
	return got
}

// rest returns the remaining values, whether the caller ended the capture or not.
func (c capturing) rest() ([]Frame, End) {
	c.t.Helper()
	var frames []Frame
	for {
		got := c.next()
		if got.End != nil {
			return frames, *got.End
		}
		frames = append(frames, *got.Frame)
	}
}

// TestCapture: a traced probe's packets are captured in both directions and contain its port
// and token; packets that were left out are not captured.
func TestCapture(t *testing.T) {
	b := newBench(t)
	c, ready := b.capture(Capture{Without: []uint16{8081}})
	i := slices.IndexFunc(ready.Links, func(l Link) bool { return l.Name == "eth0" })
	if i < 0 || ready.Name != "client" || ready.Boot == "" {
		t.Fatalf("%+v", ready)
	}
	eth0 := ready.Links[i]
	if eth0.Kind != "veth" || eth0.MAC != mac(b, "client", "eth0") || !slices.Equal(eth0.Addresses, []string{"10.9.1.2/24"}) ||
		fmt.Sprint(eth0.Peer) != strings.TrimSpace(b.run("ip", "netns", "exec", b.prefix+"router", "cat", "/sys/class/net/c/ifindex")) {
		t.Errorf("eth0 is %+v", eth0)
	}
	b.in("client", "ip neigh flush all")
	results := b.ask(Probe{Kind: HTTP, Target: "http://10.9.2.2:8080/", Trace: "abcdefghij", Count: 2, TimeoutMillis: 3000},
		Probe{Kind: UDP, Target: "10.9.2.2:8082", Trace: "klmnopqrst", TimeoutMillis: 3000},
		Probe{Kind: HTTP, Target: "http://10.9.2.2:9001/", Trace: "silentsile", TimeoutMillis: 100},
		Probe{Kind: TCP, Target: "10.9.2.2:8081", TimeoutMillis: 3000})
	c.body.Close()
	frames, end := c.rest()
	if end.Frames != len(frames) || end.Missed != 0 || end.Why != "" {
		t.Errorf("%d frames, end %+v", len(frames), end)
	}
	count := func(keep func(Frame) bool) (n int) {
		for _, f := range frames {
			if keep(f) {
				n++
			}
		}
		return n
	}
	port := func(f Frame, at int) uint16 { // of an IPv4 packet without options
		if len(f.Data) < 38 || f.Data[12] != 8 || f.Data[13] != 0 {
			return 0
		}
		return binary.BigEndian.Uint16(f.Data[34+at:])
	}
	for k, r := range results[:3] {
		for n, a := range r.Answers {
			if len(a.Sockets) != 1 {
				t.Fatalf("probe %d/%d has sockets %+v", k, n, a.Sockets)
			}
			own := a.Sockets[0].Port
			if out := count(func(f Frame) bool { return f.Out && port(f, 0) == own && f.Link == eth0.Index }); out == 0 {
				t.Errorf("probe %d/%d: nothing went out from port %d", k, n, own)
			}
			if in := count(func(f Frame) bool { return !f.Out && port(f, 2) == own }); (in == 0) != (k == 2) {
				t.Errorf("probe %d/%d: %d frames came back", k, n, in)
			}
		}
	}
	for _, token := range []string{Token("abcdefghij", 0), Token("abcdefghij", 1), Token("klmnopqrst", 0)} {
		if count(func(f Frame) bool { return f.Out && bytes.Contains(f.Data, []byte(Mark(token))) }) == 0 {
			t.Errorf("no packet has the token %s", token)
		}
	}
	if n := count(func(f Frame) bool { return port(f, 0) == 8081 || port(f, 2) == 8081 }); n > 0 {
		t.Errorf("%d frames of a port that was left out", n)
	}
	if results[3].Outcome != Reply {
		t.Errorf("that port: %s", results[3].Error)
	}
	if count(func(f Frame) bool { return f.Data[12] == 8 && f.Data[13] == 6 }) < 2 {
		t.Error("no ARP")
	}
	now := time.Now().UnixNano()
	for _, f := range frames {
		if f.Nanos > now || f.Nanos < now-int64(time.Minute) || f.Length < len(f.Data) {
			t.Errorf("a frame of %d ns, %d bytes of %d", now-f.Nanos, len(f.Data), f.Length)
		}
	}
}

// TestCaptureBounds: a capture ends by itself, and only a few run at a time.
func TestCaptureBounds(t *testing.T) {
	b := newBench(t)
	var all []capturing
	for range maxCaptures {
		c, _ := b.capture(Capture{Seconds: 1})
		all = append(all, c)
	}
	client := unixhttp.NewSocketClient(b.socket)
	response, err := client.Post("http://agent/capture", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more: %s", response.Status)
	}
	for _, c := range all {
		if _, end := c.rest(); end.Why != "its time is up" {
			t.Errorf("%+v", end)
		}
	}
}
