// Package balancer is the load balancer of a lab's cloud, `netlab cloud-balancer`: outside the cluster, as a
// provider's. It has a VIP for each Service, checks the health of Nodes and forwards TCP and UDP to the NodePorts
// of those that are healthy, by nftables in its host's network namespace. Its API is a unix socket, by which the
// controller sets what it does. It uses no API of Kubernetes, and works on while the controller is stopped.
package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/internal/atomicfile"
)

// Verb is netlab's hidden verb that Main is behind.
const Verb = "cloud-balancer"

// record is the Target, for the next start.
const record = "/var/lib/netlab/cloud-balancer.json"

// again is how often the rules are written anew, whatever happened to them.
const again = 10 * time.Second

// maxTarget bounds the size of a Target, and of a State, in bytes.
const maxTarget = 16 << 20

// Main serves until SIGTERM and returns the exit code: 1 if it cannot serve, 2 for wrong usage. What it has set
// up in the host stays: it is in effect while it restarts.
func Main(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(Verb, flag.ContinueOnError)
	flags.SetOutput(stderr)
	socket := flags.String("socket", Socket, "unix socket of the API")
	file := flags.String("record", record, "file that the target is kept in")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	runtime.GOMAXPROCS(1)
	say := log.New(stderr, "", log.LstdFlags).Printf
	s := &server{machine: host{}, health: newHealth(say), file: *file, say: say}
	if err := s.serve(ctx, *socket); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

// machine is what the load balancer changes of its host.
type machine interface {
	hold(Balancer) error         // the VIP
	yield(Balancer) error        // likewise
	load(rules string) error     // in place of those before
	forget(gone []forward) error // the connections that were forwarded there
}

// server is a running load balancer.
type server struct {
	machine machine
	health  *health
	file    string
	say     func(string, ...any)

	mu       sync.Mutex
	target   Target
	held     []Balancer // whose VIPs the host may have
	forwards []forward  // that connections may have been forwarded by
	problem  string
}

// serve continues with the recorded Target, and takes others until ctx is done.
func (s *server) serve(ctx context.Context, socket string) error {
	if _, err := atomicfile.ReadJSON(s.file, &s.target); err != nil {
		s.say("the target before is lost: %v", err)
		s.target = Target{}
	}
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: s.handler(ctx), ReadTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	defer web.Close()
	s.health.watch(ctx, s.target)
	s.health.settle(ctx, s.target)
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		s.mu.Lock()
		_ = s.apply() // it is in the State
		s.mu.Unlock()
		select {
		case <-s.health.changed:
		case <-tick.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// listen makes a unix socket, in place of one that an earlier process left.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}

// handler is the API.
func (s *server) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		state := s.state()
		s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(state)
	})
	mux.HandleFunc("PUT /{$}", func(w http.ResponseWriter, r *http.Request) {
		var t Target
		err := json.NewDecoder(io.LimitReader(r.Body, maxTarget)).Decode(&t)
		if err == nil {
			err = t.check()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := s.set(ctx, t); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

// set puts a Target into effect.
func (s *server) set(ctx context.Context, t Target) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := json.MarshalIndent(t, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.file), 0o755)
	}
	if err == nil {
		err = atomicfile.Write(s.file, data, 0o644)
	}
	if err != nil {
		return err
	}
	s.target = t
	s.health.watch(ctx, t)
	s.health.settle(ctx, t) // at most checkTimeout
	return s.apply()
}

// state is the State now.
func (s *server) state() State {
	return State{Target: s.target, Health: s.health.of(s.target), Problem: s.problem}
}

// apply makes the host's addresses, rules and connections those of the State.
func (s *server) apply() error {
	state := s.state()
	var errs []error
	for _, b := range s.target.Balancers {
		errs = append(errs, s.machine.hold(b))
	}
	forwards := state.forwards()
	loaded := s.machine.load(state.rules())
	errs = append(errs, loaded)
	if loaded == nil {
		gone := slices.DeleteFunc(slices.Clone(s.forwards), func(f forward) bool { return slices.Contains(forwards, f) })
		errs = append(errs, s.machine.forget(gone))
		s.forwards = forwards
	}
	held := slices.Clone(s.target.Balancers)
	for _, was := range s.held {
		if now, still := s.target.Find(was.VIP); still && now.NIC == was.NIC {
			continue
		}
		if err := s.machine.yield(was); err != nil {
			errs, held = append(errs, err), append(held, was)
		}
	}
	s.held = held
	err := errors.Join(errs...)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != s.problem && problem != "" {
		s.say("%s", problem)
	}
	s.problem = problem
	return err
}

// host is the machine that the load balancer runs on.
type host struct{}

func (host) hold(b Balancer) error {
	link, address, err := addressOf(b)
	if err == nil {
		err = netlink.AddrReplace(link, address)
	}
	if err != nil {
		return fmt.Errorf("add VIP %s to %s: %w", b.VIP, b.NIC, err)
	}
	return nil
}

func (host) yield(b Balancer) error {
	link, address, err := addressOf(b)
	if err == nil {
		err = netlink.AddrDel(link, address)
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove VIP %s from %s: %w", b.VIP, b.NIC, err)
	}
	return nil
}

func addressOf(b Balancer) (netlink.Link, *netlink.Addr, error) {
	link, err := netlink.LinkByName(b.NIC)
	if err != nil {
		return nil, nil, err
	}
	address, err := netlink.ParseAddr(b.VIP.String() + "/32")
	return link, address, err
}

func (host) load(rules string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (host) forget(gone []forward) error {
	var filters []netlink.CustomConntrackFilter
	for _, f := range gone {
		number := uint8(unix.IPPROTO_TCP)
		if f.protocol == UDP {
			number = unix.IPPROTO_UDP
		}
		filter := &netlink.ConntrackFilter{}
		err := errors.Join(filter.AddProtocol(number), filter.AddPort(netlink.ConntrackOrigDstPort, f.port),
			filter.AddIP(netlink.ConntrackOrigDstIP, f.vip.AsSlice()), filter.AddIP(netlink.ConntrackReplySrcIP, f.node.AsSlice()))
		if err != nil {
			return err
		}
		filters = append(filters, filter)
	}
	if len(filters) == 0 {
		return nil
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filters...); err != nil {
		return fmt.Errorf("forget connections: %w", err)
	}
	return nil
}
