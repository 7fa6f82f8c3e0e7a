package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Server is one agent: its data ports and its control socket. A port of 0 and an empty
// Socket are not served.
type Server struct {
	Name, Node, IP string
	Address        string // the data ports bind to it; all addresses when empty
	HTTP, TCP, UDP int
	Load           int // port of the far end of a measurement; used while there is one
	Socket         string
}

// Seen is what a server saw of a request: which agent answered, and the client's address.
type Seen struct {
	Name         string `json:"name"`
	Node         string `json:"node,omitempty"`
	IP           string `json:"ip,omitempty"`
	Remote       string `json:"remote"` // the client's address without its port
	RemotePort   uint16 `json:"remotePort"`
	Host         string `json:"host,omitempty"`
	Method       string `json:"method,omitempty"`
	Path         string `json:"path,omitempty"`
	ForwardedFor string `json:"forwardedFor,omitempty"`
	Bytes        int    `json:"bytes,omitempty"` // UDP: payload received
}

// Asked is the body of a POST to /probe on the control socket.
type Asked struct {
	Probes []Probe `json:"probes"`
}

// Answered is its answer, in the order of the probes. It identifies the agent: the socket of
// a Pod may for a moment still be served by the previous Pod of the same name.
type Answered struct {
	Name    string   `json:"name"`
	IP      string   `json:"ip,omitempty"`
	Results []Result `json:"results"`
}

// Run serves until ctx ends or one of the servers stops; then it stops them all.
func (s Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers []func(context.Context) error
	listen := func(kind string, port int, serve func(net.Listener) func(context.Context) error) error {
		if port == 0 {
			return nil
		}
		var l net.Listener
		err := whenFree(ctx, func() (err error) {
			l, err = net.Listen("tcp", net.JoinHostPort(s.Address, strconv.Itoa(port)))
			return err
		})
		if err != nil {
			return fmt.Errorf("serve %s: %w", kind, err)
		}
		context.AfterFunc(ctx, func() { l.Close() })
		servers = append(servers, serve(l))
		return nil
	}
	if err := listen("HTTP", s.HTTP, s.serveHTTP); err != nil {
		return err
	}
	if err := listen("TCP", s.TCP, s.serveTCP); err != nil {
		return err
	}
	if s.UDP != 0 {
		var udp *net.UDPConn
		err := whenFree(ctx, func() (err error) {
			udp, err = s.listenUDP()
			return err
		})
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { udp.Close() })
		servers = append(servers, func(context.Context) error { return s.answerUDP(udp) })
	}
	if s.Socket != "" {
		l, err := listenControl(s.Socket)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { l.Close() })
		servers = append(servers, s.serveControl(l))
	}
	errs := make(chan error, len(servers))
	for _, serve := range servers {
		go func() { errs <- serve(ctx) }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-errs:
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
}

// portLimit is how long an agent waits for its ports: a predecessor in the same network
// namespace holds them until its process has exited.
const portLimit = 5 * time.Second

// whenFree repeats bind while the port is in use, for at most portLimit.
func whenFree(ctx context.Context, bind func() error) error {
	limit := time.Now().Add(portLimit)
	for {
		err := bind()
		if !errors.Is(err, syscall.EADDRINUSE) || ctx.Err() != nil || time.Now().After(limit) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s Server) seen(remote netip.AddrPort) Seen {
	return Seen{Name: s.Name, Node: s.Node, IP: s.IP, Remote: remote.Addr().Unmap().String(), RemotePort: remote.Port()}
}

func (s Server) serveHTTP(l net.Listener) func(context.Context) error {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remote, _ := netip.ParseAddrPort(r.RemoteAddr)
		seen := s.seen(remote)
		seen.Host, seen.Method, seen.Path = r.Host, r.Method, r.URL.Path
		seen.ForwardedFor = r.Header.Get("X-Forwarded-For")
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(seen)
	})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 8 << 10}
	return func(context.Context) error { return server.Serve(l) }
}

func (s Server) serveTCP(l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return fmt.Errorf("serve TCP: %w", err)
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				remote, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
				json.NewEncoder(conn).Encode(s.seen(remote))
			}()
		}
	}
}

func (s Server) listenUDP() (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1)
		}); e != nil {
			return e
		}
		return err
	}}
	c, err := config.ListenPacket(context.Background(), "udp4", net.JoinHostPort(s.Address, strconv.Itoa(s.UDP)))
	if err != nil {
		return nil, fmt.Errorf("serve UDP: %w", err)
	}
	return c.(*net.UDPConn), nil
}

// answerUDP answers each datagram from the address that it was sent to: a machine with
// several NICs would otherwise answer from the one its routes prefer, and a client with
// a connected socket would not accept that as an answer.
func (s Server) answerUDP(c *net.UDPConn) error {
	buf, oob := make([]byte, 64<<10), make([]byte, 128)
	for {
		n, oobn, _, remote, err := c.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("serve UDP: %w", err)
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		if isAnswer(buf[:n]) {
			continue
		}
		seen := s.seen(remote)
		seen.Bytes = n
		answer, _ := json.Marshal(seen)
		c.WriteMsgUDPAddrPort(answer, sameSource(oob[:oobn]), remote)
	}
}

// isAnswer recognizes the answer of an agent, which is not answered: a datagram with the source
// port of another agent, or of an echo service, would be answered back and forth for ever.
func isAnswer(datagram []byte) bool {
	var seen Seen
	return bytes.HasPrefix(datagram, []byte("{")) && json.Unmarshal(datagram, &seen) == nil && seen.Name != "" && seen.Remote != ""
}

// sameSource turns the IP_PKTINFO of a received datagram into that of its answer: the
// specific destination becomes the source, and the interface is left to the routes.
func sameSource(oob []byte) []byte {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		// struct in_pktinfo, ip(7): int ifindex, in_addr spec_dst, in_addr addr
		if m.Header.Level == syscall.IPPROTO_IP && m.Header.Type == syscall.IP_PKTINFO && len(m.Data) >= 12 {
			clear(m.Data[:4])
			copy(m.Data[4:8], m.Data[8:12])
			clear(m.Data[8:12])
			return oob
		}
	}
	return nil
}

// listenControl creates the control socket, replacing one that an earlier run left. It stays
// when its agent exits: by then the path may be that of the next Pod.
func listenControl(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("serve control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("serve control socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l, nil
}

func (s Server) serveControl(l net.Listener) func(context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /probe", func(w http.ResponseWriter, r *http.Request) {
		var asked Asked
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if len(asked.Probes) > MaxProbes {
			http.Error(w, fmt.Sprintf("%d probes in one request; %d at most", len(asked.Probes), MaxProbes), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(Answered{Name: s.Name, IP: s.IP, Results: DoAll(r.Context(), asked.Probes)})
	})
	mux.HandleFunc("GET /addresses", serveAddresses)
	mux.HandleFunc("POST /capture", s.serveCapture(make(chan struct{}, maxCaptures)))
	var measuring loadServers
	s.control(mux, &measuring)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return func(ctx context.Context) error {
		defer measuring.stop()
		go holdControl(ctx, s.Socket, server)
		return server.Serve(l)
	}
}

// serveAddresses answers with the addresses of the agent's network namespace.
func serveAddresses(w http.ResponseWriter, _ *http.Request) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var own []netip.Addr
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(own)
}

// holdControl restores the control socket where nothing listens at its path any more: a
// previous Pod that the kubelet started once more, after a reboot, may have taken the path
// and exited. While that Pod runs, it keeps the path.
func holdControl(ctx context.Context, path string, server *http.Server) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
			continue
		}
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if l, err := listenControl(path); err == nil {
			context.AfterFunc(ctx, func() { l.Close() })
			go server.Serve(l)
		}
	}
}

// DoAll runs probes concurrently and returns their results in order. Only a few are busy at
// a time, so that they do not disturb each other's timing; one that has waited for a while
// for its answer counts as idle, and the next one starts.
func DoAll(ctx context.Context, probes []Probe) []Result {
	const busy, idleAfter = 3, 20 * time.Millisecond
	results := make([]Result, len(probes))
	slots := make(chan struct{}, busy)
	var wg sync.WaitGroup
	for i, p := range probes {
		slots <- struct{}{}
		wg.Go(func() {
			release := sync.OnceFunc(func() { <-slots })
			defer time.AfterFunc(idleAfter, release).Stop()
			defer release()
			results[i] = p.Do(ctx)
		})
	}
	wg.Wait()
	return results
}
