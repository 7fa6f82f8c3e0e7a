package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// DNSAnswer is a DNS response: the name that was found (of the search list's), its code
// and records.
type DNSAnswer struct {
	Name    string   `json:"name"`
	Server  string   `json:"server"`
	Code    string   `json:"code"` // NOERROR, NXDOMAIN, …
	Records []Record `json:"records,omitempty"`
}

// Record is one resource record; Value is an address or a name.
type Record struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Values gives the sorted values of one record type.
func (a DNSAnswer) Values(kind string) []string {
	var out []string
	for _, r := range a.Records {
		if r.Type == kind {
			out = append(out, r.Value)
		}
	}
	slices.Sort(out)
	return out
}

// dns asks one server, along resolv.conf's search list as the C library would; a target
// that ends in a dot, or a server of its own, is asked for as it is.
func (p Probe) dns(ctx context.Context) (Answer, error) {
	kind, ok := dns.StringToType[strings.ToUpper(p.Type)]
	if p.Type == "" {
		kind, ok = dns.TypeA, true
	}
	if !ok {
		return Answer{}, broken{fmt.Errorf("unknown DNS type %q", p.Type)}
	}
	server, names := p.Server, []string{dns.Fqdn(p.Target)}
	if server == "" {
		config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return Answer{}, broken{err}
		}
		if len(config.Servers) == 0 {
			return Answer{}, broken{fmt.Errorf("resolv.conf names no server")}
		}
		server, names = config.Servers[0], config.NameList(p.Target)
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "53")
	}
	var last DNSAnswer
	for _, name := range names {
		query := new(dns.Msg).SetQuestion(name, kind)
		response, _, err := (&dns.Client{Dialer: p.dialer()}).ExchangeContext(ctx, query, server)
		if err == nil && response.Truncated {
			response, _, err = (&dns.Client{Net: "tcp", Dialer: p.dialer()}).ExchangeContext(ctx, query, server)
		}
		if err != nil {
			return Answer{}, err
		}
		last = DNSAnswer{Name: name, Server: server, Code: dns.RcodeToString[response.Rcode], Records: records(response.Answer)}
		if response.Rcode == dns.RcodeSuccess && len(response.Answer) > 0 {
			break
		}
	}
	return Answer{DNS: &last}, nil
}

func records(answer []dns.RR) []Record {
	var out []Record
	for _, rr := range answer {
		r := Record{Name: rr.Header().Name, Type: dns.TypeToString[rr.Header().Rrtype]}
		switch rr := rr.(type) {
		case *dns.A:
			r.Value = rr.A.String()
		case *dns.AAAA:
			r.Value = rr.AAAA.String()
		case *dns.CNAME:
			r.Value = rr.Target
		case *dns.SRV:
			r.Value = fmt.Sprintf("%s:%d", rr.Target, rr.Port)
		default:
			r.Value = strings.TrimPrefix(rr.String(), rr.Header().String())
		}
		out = append(out, r)
	}
	return out
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
