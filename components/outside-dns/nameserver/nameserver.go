// Package nameserver is the DNS server of the internet host, `netlab nameserver`: it answers
// A and AAAA queries from a file of names and addresses, over UDP and TCP, and NXDOMAIN for
// everything else. It takes no recursive queries further, and reads its file once: PID 1 of
// the host restarts it when the file has changed.
package nameserver

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/miekg/dns"
)

// Verb is netlab's hidden verb that Main is behind.
const Verb = "nameserver"

// Main serves until SIGTERM and returns the exit code: 1 if a server stopped with an error,
// 2 for wrong usage.
func Main(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(Verb, flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("names", "", "JSON file, name → address")
	address := flags.String("address", "", "address to bind; all when empty")
	zone := flags.String("zone", "outside.test.", "zone that the server is authoritative for")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	names, err := read(*file)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// It idles nearly always: speed is traded for memory.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	if err := serve(ctx, net.JoinHostPort(*address, "53"), &Zone{Name: *zone, Names: names}); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func read(file string) (map[string]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	names := map[string]string{}
	if err := json.Unmarshal(data, &names); err != nil {
		return nil, fmt.Errorf("read names of %s: %w", file, err)
	}
	return names, nil
}

// serve answers over UDP and TCP until ctx ends or one of the two fails.
func serve(ctx context.Context, address string, zone *Zone) error {
	ended := make(chan error, 2)
	var servers []*dns.Server
	for _, network := range []string{"udp", "tcp"} {
		d := &dns.Server{Addr: address, Net: network, Handler: zone}
		servers = append(servers, d)
		go func() { ended <- d.ListenAndServe() }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
		err = errors.Join(errors.New("a server stopped"), err)
	}
	for _, d := range servers {
		d.Shutdown() // it may not have begun
	}
	return err
}

// Zone is the outside's DNS: it knows Names (with or without their final dot) and says
// NXDOMAIN to everything else. Only in its zone does it claim authority.
type Zone struct {
	Name  string            // with its final dot
	Names map[string]string // name → address
}

// ServeDNS answers A queries from Names.
func (z *Zone) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	response := new(dns.Msg).SetReply(query)
	if len(query.Question) != 1 {
		w.WriteMsg(response.SetRcode(query, dns.RcodeFormatError))
		return
	}
	q := query.Question[0]
	response.Authoritative = dns.IsSubDomain(z.Name, q.Name)
	addr, known := z.lookup(q.Name)
	switch {
	case !known && !strings.EqualFold(q.Name, z.Name):
		response.Rcode = dns.RcodeNameError
	case known && (q.Qtype == dns.TypeA && addr.Is4() || q.Qtype == dns.TypeAAAA && addr.Is6()):
		response.Answer = []dns.RR{addressRecord(q.Name, q.Qtype, addr)}
	}
	if len(response.Answer) == 0 && response.Authoritative {
		// RFC 2308: a negative answer carries the SOA, and is cached for its last field.
		response.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: z.Name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 5},
			Ns:  "ns." + z.Name, Mbox: "hostmaster." + z.Name, Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: 5,
		}}
	}
	w.WriteMsg(response)
}

func (z *Zone) lookup(name string) (netip.Addr, bool) {
	for n, a := range z.Names {
		if strings.EqualFold(dns.Fqdn(n), name) {
			addr, err := netip.ParseAddr(a)
			return addr, err == nil
		}
	}
	return netip.Addr{}, false
}

func addressRecord(name string, kind uint16, addr netip.Addr) dns.RR {
	header := dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 5}
	if kind == dns.TypeA {
		return &dns.A{Hdr: header, A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()}
}
