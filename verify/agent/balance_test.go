package agent

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loader stands for the dynamic loader of a Debian file system: a script in its place.
func loader(t *testing.T, script string) (debian string) {
	t.Helper()
	debian = t.TempDir()
	dir := filepath.Join(debian, "usr/lib/x86_64-linux-gnu")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ld-linux-x86-64.so.2"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return debian
}

func balancer(t *testing.T) Balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the script in haproxy's place cannot listen
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return Balancer{
		Listen:  netip.MustParseAddrPort(l.Addr().String()),
		Servers: map[string]string{"cp2": "172.30.0.11:6443", "cp1": "172.30.0.10:6443"},
		HAProxy: "/haproxy",
		File:    filepath.Join(t.TempDir(), "haproxy.cfg"),
	}
}

// haproxy gets its own libraries before the base's, its configuration names where it
// listens and every server, and it ends with the agent.
func TestBalancer(t *testing.T) {
	b := balancer(t)
	said := filepath.Join(t.TempDir(), "said")
	debian := loader(t, `echo "$@" >`+said+`; exec sleep 60`)
	ctx, cancel := context.WithCancel(t.Context())
	wait, err := b.start(ctx, debian)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := wait(ctx); err == nil {
		t.Error("the end of haproxy is no error")
	}
	config, err := os.ReadFile(b.File)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bind " + b.Listen.String() + "\n", "server cp1 172.30.0.10:6443\n    server cp2 172.30.0.11:6443\n"} {
		if !strings.Contains(string(config), want) {
			t.Errorf("the configuration lacks %q:\n%s", want, config)
		}
	}
	argv, err := b.argv(debian)
	if err != nil {
		t.Fatal(err)
	}
	libraries := "/usr/lib/x86_64-linux-gnu"
	want := "--library-path /haproxy" + libraries + ":" + debian + libraries + " /haproxy/usr/sbin/haproxy -db -f " + b.File
	if got := strings.Join(argv[1:], " "); got != want {
		t.Errorf("haproxy is run with\n%s, want\n%s", got, want)
	}
}

// A haproxy that cannot start is told by the agent, which does not run without it.
func TestBalancerFails(t *testing.T) {
	b := balancer(t)
	b.Listen = netip.MustParseAddrPort("127.0.0.1:1") // where nobody listens
	s := Server{Balancer: &b, Debian: loader(t, "exit 7")}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "ended at once: exit status 7") {
		t.Errorf("the agent says %v", err)
	}
	s.Debian = t.TempDir()
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no haproxy") {
		t.Errorf("without a loader the agent says %v", err)
	}
}
