package agent

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// DNSAnswer is a DNS response: the name that was found (with the search list applied), its
// code and records.
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

// Values returns the sorted values of one record type.
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

// dns queries one server, along resolv.conf's search list as the C library would; a target
// that ends in a dot, or one with an explicit server, is queried as it is.
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
			return Answer{}, broken{fmt.Errorf("resolv.conf has no nameserver")}
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
