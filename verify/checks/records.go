package checks

import (
	"cmp"
	"slices"
	"strings"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Record is what a DNS name must resolve to.
type Record string

// What names resolve to.
const (
	ServiceAddress Record = "the A record is the Service's ClusterIP"
	OutsideAddress Record = "the A record is that of the lab's outside DNS"
	PodAddresses   Record = "the A records are the Pod IPs"
	CanonicalName  Record = "the CNAME is the outside host's"
)

// Records asserts the DNS records of a row's destination. For a row over HTTP they are
// looked up by a second probe.
type Records struct{ Of Record }

func (x Records) String() string { return string(x.Of) }

func (x Records) Probes(q Query) []Ask {
	if q.Row.Protocol == agent.DNS {
		return nil
	}
	return q.also(PartDNS, agent.Probe{Kind: agent.DNS, Target: q.Target + ".", TimeoutMillis: dnsTimeoutMillis})
}

func (x Records) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	if got[PartMain].Outcome != agent.Reply {
		return nil
	}
	switch x.Of {
	case PodAddresses:
		var ips []string
		for _, name := range s.Services[r.To.Name].Ready {
			ips = append(ips, s.PodIPs[name])
		}
		slices.Sort(ips)
		return equal(report.KeyRecords, "A records", strings.Join(ips, " "), dnsValues(got[PartDNS], "A"))
	case CanonicalName:
		return equal(report.KeyRecords, "CNAME", workload.OutsideName(s.Plan)+".", dnsValues(got[PartDNS], "CNAME"))
	}
	answer := got[PartMain].Answers[0].DNS
	if answer == nil {
		return nil
	}
	name, want := r.To.Name+".", cmp.Or(s.Plan.Records()[r.To.Name], s.Plan.Records()[r.To.Name+"."])
	if x.Of == ServiceAddress {
		name, want = r.To.Name+"."+workload.Namespace+".svc."+s.Plan.Kubernetes.Domain+".", s.Services[r.To.Name].ClusterIP
	}
	return append(equal(report.KeyName, "name found", name, answer.Name),
		equal(report.KeyRecords, "A record", want, cmp.Or(strings.Join(answer.Values("A"), " "), answer.Code))...)
}

// dnsValues returns the sorted values of one type in a DNS answer, or why there are none.
func dnsValues(r agent.Result, kind string) string {
	if r.Outcome != agent.Reply || len(r.Answers) == 0 || r.Answers[0].DNS == nil {
		return Said(r)
	}
	return cmp.Or(strings.Join(r.Answers[0].DNS.Values(kind), " "), r.Answers[0].DNS.Code)
}
