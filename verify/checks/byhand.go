package checks

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// OutsideToLBByHand is the path through hosts of role load-balancer, which nothing in the cluster knows of.
const OutsideToLBByHand = "outside-to-lb-by-hand"

func byHand() []Check {
	return []Check{{
		ID: OutsideToLBByHand, Section: sectionFromOutside,
		Title:    "outside host → load balancer that is configured by hand → Ingress by NodePort, over HTTP and HTTPS",
		Rows:     byHandRows,
		Request:  virtualHost,
		Asserts:  []Assertion{Status{}, Backends{}, Certificate{}, ForwardedFor{}},
		Suspects: []Suspect{ingressController, ingressBackend, lostPackets},
	}}
}

// byHandRows ask each load balancer, and the VIP that several share, for every host and path of the
// Ingress, and for an unknown host.
func byHandRows(l Lab) []Row {
	balancers := l.Plan.WithRole(topology.RoleLoadBalancer)
	switch {
	case len(balancers) == 0:
		return skip("outside client", "load balancer", "the lab has no host with role load-balancer")
	case len(l.Clients) == 0:
		return skip("outside client", "load balancer", noClient)
	}
	var through []string
	for _, b := range balancers {
		through = append(through, b.Name)
	}
	for _, s := range l.Plan.Shared() {
		if s.Role == topology.RoleLoadBalancer {
			through = append(through, s.VIP.String())
		}
	}
	var out []Row
	for _, name := range through {
		for _, c := range l.Clients {
			for _, protocol := range []string{agent.HTTP, agent.HTTPS} {
				to := func(url string, status int) {
					r := reach(observe.AtHost(c), observe.Ref{Kind: report.AtIngress, Name: url}).over(protocol)
					r.Through, r.Status = name, status
					out = append(out, r)
				}
				for _, r := range workload.IngressRoutes() {
					to(r.Host+r.Path, 0)
				}
				to(workload.UnknownHost+"/", http.StatusNotFound)
			}
		}
	}
	return out
}

// Balancer is the load balancer that a row goes through and the address that is asked: a host's own, or
// the VIP that the host holds, since the others are off. Both are "" for a row through none.
func (r Row) Balancer(s observe.Snapshot) (host, ip string) {
	if r.Through == "" {
		return "", ""
	}
	if shared, is := sharers(s.Plan, r.Through); is {
		return cmp.Or(shared.Holder(s.Off), shared.Hosts[0]), r.Through
	}
	return r.Through, s.Toward(r.From, r.Through)
}

// ForwardedFor asserts which client address the Ingress controller sends to a backend in X-Forwarded-For: with the PROXY protocol
// the client itself, else the load balancer, or a Node that translated its address.
type ForwardedFor struct{ alone }

func (ForwardedFor) String() string {
	return "the client address that the Ingress controller sends to the backend (X-Forwarded-For): that of the load balancer or of a Node; the client's own address with the PROXY protocol"
}

func (ForwardedFor) Judge(s observe.Snapshot, r Row, got Answers) []report.Property {
	seen, bad := answersOfAgents(got[PartMain])
	if len(seen) == 0 || bad != nil {
		return nil
	}
	forwarded := distinct(seen, func(x agent.Seen) string { return x.ForwardedFor })
	host, _ := r.Balancer(s)
	p := report.Property{Key: report.KeyForwarded, Name: "X-Forwarded-For", Expected: host + "'s address, or a Node's", Observed: cmp.Or(strings.Join(forwarded, " "), "none"), OK: true}
	client, _ := s.Plan.Machine(r.From.Name)
	balancer, _ := s.Plan.Machine(host)
	if s.Plan.Ingress.ProxyProtocol {
		p.Expected = "the client's own address"
	}
	for _, ip := range forwarded {
		addr, _ := netip.ParseAddr(ip)
		if s.Plan.Ingress.ProxyProtocol {
			p.OK = p.OK && slices.Contains(client.Addresses(), addr)
		} else {
			p.OK = p.OK && (slices.Contains(balancer.Addresses(), addr) || nodeAt(s, ip) != "")
		}
	}
	return []report.Property{p}
}
