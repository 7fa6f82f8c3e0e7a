package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// Capture is the first value in the body of a POST to /capture on the control socket. It
// requests the IPv4 and ARP packets on every interface of the agent's network namespace.
// The answer is a stream of Captured: Ready as soon as no packet is missed any more, then
// Frames, then End. The caller ends the capture by ending the body, and still receives what
// was captured until then.
type Capture struct {
	Seconds int      `json:"seconds,omitempty"` // the capture ends by itself then; default 30
	Without []uint16 `json:"without,omitempty"` // TCP ports whose packets are left out
}

// Captured is one value of the answer; one of its fields is set.
type Captured struct {
	Ready *Ready `json:"ready,omitempty"`
	Frame *Frame `json:"frame,omitempty"`
	End   *End   `json:"end,omitempty"`
}

// Ready identifies the agent that captures, and its interfaces.
type Ready struct {
	Name  string `json:"name"`
	IP    string `json:"ip,omitempty"`
	Boot  string `json:"boot"` // id of the running kernel: one kernel, one clock
	Links []Link `json:"links"`
}

// Link is an interface of the agent's network namespace.
type Link struct {
	Index     int      `json:"index"`
	Name      string   `json:"name"`
	Kind      string   `json:"kind"` // veth, bridge, vxlan, device, …
	MAC       string   `json:"mac,omitempty"`
	Master    int      `json:"master,omitempty"` // index of the bridge that it is a port of
	Peer      int      `json:"peer,omitempty"`   // of a veth: index of the other end, in its own namespace
	Addresses []string `json:"addresses,omitempty"`
}

// Frame is one packet on one interface.
type Frame struct {
	Nanos  int64  `json:"nanos"` // since 1970
	Link   int    `json:"link"`
	Out    bool   `json:"out,omitempty"` // sent by this namespace, not received
	Raw    bool   `json:"raw,omitempty"` // Data starts with the IP header
	Length int    `json:"length"`        // in bytes, of which Data may hold fewer
	Data   []byte `json:"data"`
}

// End is the last value.
type End struct {
	Frames int    `json:"frames"`
	Missed int    `json:"missed,omitempty"` // frames for which the kernel had no room
	Why    string `json:"why,omitempty"`    // why it ended, if not by the caller
}

// Bounds of one capture, and of the number of captures at a time.
const (
	maxCaptures       = 4
	maxCaptureSeconds = 60
	maxFrames         = 50_000
	maxFrameBytes     = 32 << 20
)

// serveCapture answers POST /capture; slots holds a token for each running capture.
func (s Server) serveCapture(slots chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			http.Error(w, fmt.Sprintf("%d captures are already running", maxCaptures), http.StatusServiceUnavailable)
			return
		}
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		var asked Capture
		body := io.LimitReader(r.Body, 1<<16)
		if err := json.NewDecoder(body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ring, err := openRing(asked.Without)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer ring.close()
		links, err := ownLinks()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
		w.Header().Set("Content-Type", "application/json")
		out := bufio.NewWriterSize(w, 64<<10)
		stream := captureStream{encode: json.NewEncoder(out).Encode, flush: func() error {
			if err := out.Flush(); err != nil {
				return err
			}
			return control.Flush()
		}}
		ready := Ready{Name: s.Name, IP: s.IP, Boot: strings.TrimSpace(string(boot)), Links: links}
		if stream.encode(Captured{Ready: &ready}) != nil || stream.flush() != nil {
			return
		}
		ended := make(chan struct{})
		go func() {
			io.Copy(io.Discard, body)
			close(ended)
		}()
		seconds := asked.Seconds
		if seconds <= 0 {
			seconds = 30
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(min(seconds, maxCaptureSeconds))*time.Second)
		defer cancel()
		stream.run(ctx, ring, ended)
	}
}

type captureStream struct {
	encode func(any) error
	flush  func() error
}

// run sends frames until the caller ends the capture or a bound is reached.
func (c captureStream) run(ctx context.Context, ring *ring, ended <-chan struct{}) {
	var end End
	bytes := 0
	for last := false; end.Why == ""; {
		// What was captured before the caller's end is in the ring by then.
		select {
		case <-ended:
			last = true
		case <-ctx.Done():
			end.Why, last = "its time is up", true
		default:
		}
		for frame, ok := ring.next(); ok && end.Why == ""; frame, ok = ring.next() {
			end.Frames++
			bytes += len(frame.Data)
			if err := c.encode(Captured{Frame: &frame}); err != nil {
				return
			}
			if end.Frames >= maxFrames || bytes >= maxFrameBytes {
				end.Why = fmt.Sprintf("it reached the limit of %d frames or %d MB", maxFrames, maxFrameBytes>>20)
			}
		}
		if last || end.Why != "" {
			break
		}
		if err := c.flush(); err != nil {
			return
		}
		ring.wait(50 * time.Millisecond)
	}
	end.Missed = ring.missed()
	if c.encode(Captured{End: &end}) == nil {
		c.flush()
	}
}

// ownLinks lists the interfaces of the agent's network namespace.
func ownLinks() ([]Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []Link
	for _, l := range all {
		a := l.Attrs()
		link := Link{Index: a.Index, Name: a.Name, Kind: l.Type(), MAC: a.HardwareAddr.String(), Master: a.MasterIndex}
		if link.Kind == "veth" {
			link.Peer = a.ParentIndex
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", a.Name, err)
		}
		for _, addr := range addrs {
			link.Addresses = append(link.Addresses, addr.IPNet.String())
		}
		out = append(out, link)
	}
	return out, nil
}
