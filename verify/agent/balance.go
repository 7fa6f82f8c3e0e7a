package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Balancer is a haproxy that passes TCP connections on to one of several API servers, in
// turn, as long as they say that they are ready.
type Balancer struct {
	Listen  netip.AddrPort
	Servers map[string]string // name → address and port
	HAProxy string            // root of a file system with haproxy, but for what Server.Debian has
	File    string            // its configuration is written there
}

// balancerStart bounds the wait for haproxy to listen.
const balancerStart = 5 * time.Second

// config writes haproxy's configuration
// (https://docs.haproxy.org/2.6/configuration.html). An API server is asked for its
// readiness as kubelet asks it, without credentials and without a look at its certificate;
// what it answers to clients they check themselves. What comes and goes is told on standard
// error. A watch may be silent for long: a
// connection ends with its server, or when its other end is dead, and not by a time limit.
func (b Balancer) config() []byte {
	var c strings.Builder
	fmt.Fprintf(&c, `global
    nbthread 1
    maxconn 1000
defaults
    mode tcp
    retries 2
    option redispatch
    option clitcpka
    option srvtcpka
    timeout connect 1s
    timeout check 2s
    timeout client 24h
    timeout server 24h
frontend api
    bind %s
    default_backend control-planes
backend control-planes
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host kubernetes
    http-check expect status 200
    default-server check check-ssl verify none inter 2s fastinter 500ms downinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
`, b.Listen)
	for _, name := range slices.Sorted(maps.Keys(b.Servers)) {
		fmt.Fprintf(&c, "    server %s %s\n", name, b.Servers[name])
	}
	return []byte(c.String())
}

// argv runs haproxy in the foreground by the dynamic loader of the Debian file system, as
// iperf3: this machine has to have neither haproxy nor its libraries.
func (b Balancer) argv(debian string) ([]string, error) {
	loaders, _ := filepath.Glob(filepath.Join(debian, "usr/lib/*/ld-linux*.so.*"))
	if len(loaders) == 0 || b.HAProxy == "" {
		return nil, fmt.Errorf("no haproxy: %q has no dynamic loader, or %q is no file system", debian, b.HAProxy)
	}
	libraries := filepath.Dir(loaders[0])
	own := filepath.Join(b.HAProxy, strings.TrimPrefix(libraries, debian))
	return []string{loaders[0], "--library-path", own + ":" + libraries, filepath.Join(b.HAProxy, "usr/sbin/haproxy"), "-db", "-f", b.File}, nil
}

// start runs haproxy and returns when it listens. The function that it gives waits for
// haproxy's end, which is an error unless ctx has ended, when haproxy ends too.
func (b Balancer) start(ctx context.Context, debian string) (wait func(context.Context) error, err error) {
	argv, err := b.argv(debian)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.File, b.config(), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // however this agent ends; haproxy must not change its user
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The signal comes when the thread ends that started it: it must be there until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start haproxy: %w", err)
	}
	limit := time.After(balancerStart)
	for {
		conn, err := net.DialTimeout("tcp", b.Listen.String(), time.Second)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("%s ended at once: %v", strings.Join(argv, " "), err)
		case <-limit:
			return nil, fmt.Errorf("haproxy does not listen on %s after %s: %w", b.Listen, balancerStart, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return func(context.Context) error {
		return errors.Join(errors.New("haproxy ended"), <-ended)
	}, nil
}
