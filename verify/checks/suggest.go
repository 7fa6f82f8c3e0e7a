package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// Candidates are the paths of the user's that could be asserted: from each of their workloads to
// each port of their Services, and from outside hosts to VIPs and hosts of Ingresses. They are
// expected to be denied, so that controls are asked.
func Candidates(plan topology.Plan, s observe.State, ingresses []networkingv1.Ingress) (paths []labs.Path) {
	add := func(from, to, protocol string) {
		p := labs.Path{From: from, To: to, Protocol: protocol, Expect: labs.Denied}
		p.Fill()
		paths = append(paths, p)
	}
	var clients []string
	for _, m := range plan.WithRole(topology.RoleClient) {
		clients = append(clients, m.Name)
	}
	for _, x := range s.UsersServices() {
		for _, port := range x.Spec.Ports {
			name, protocol := x.Namespace+"/"+x.Name, protocolOf(port)
			if protocol == "" {
				continue
			}
			for _, from := range s.UsersWorkloads() {
				if behind := s.WorkloadsBehind(x); !slices.Equal(behind, []string{from}) { // what it reaches of itself nobody asks
					add(from, fmt.Sprintf("%s:%d", name, port.Port), protocol)
				}
			}
			for _, from := range clients {
				if observe.VIPOf(x) != "" {
					add(from, fmt.Sprintf("vip/%s:%d", name, port.Port), protocol)
				}
			}
		}
	}
	for _, x := range ingresses {
		if !s.Users(x.Namespace) {
			continue
		}
		for _, r := range x.Spec.Rules {
			secure := slices.ContainsFunc(x.Spec.TLS, func(t networkingv1.IngressTLS) bool { return slices.Contains(t.Hosts, r.Host) })
			for _, from := range clients {
				if r.Host == "" || strings.HasPrefix(r.Host, "*") {
					continue
				}
				add(from, "ingress/"+r.Host, labs.PathHTTP)
				if secure {
					add(from, "ingress/"+r.Host, labs.PathHTTPS)
				}
			}
		}
	}
	slices.SortStableFunc(paths, func(a, b labs.Path) int { return strings.Compare(a.From, b.From) })
	return slices.Compact(paths)
}

// protocolOf is what is asked at a port of a Service, by what it says of itself; "" for SCTP.
func protocolOf(p corev1.ServicePort) string {
	app := p.Name
	if p.AppProtocol != nil {
		app = *p.AppProtocol
	}
	switch {
	case p.Protocol == corev1.ProtocolUDP:
		return labs.PathUDP
	case p.Protocol == corev1.ProtocolSCTP:
		return ""
	case strings.HasPrefix(app, "https") || app == "" && p.Port == 443:
		return labs.PathHTTPS
	case strings.HasPrefix(app, "http") || app == "" && slices.Contains([]int32{80, 8080}, p.Port):
		return labs.PathHTTP
	}
	return labs.PathTCP
}

// Suggestion is a path of the user's that asserts what is seen now.
type Suggestion struct {
	labs.Path
	Doubt string // why it would assert nothing; "" for none
}

// Suggestions are what findings of Candidates assert.
func Suggestions(rows []Judged) (all []Suggestion) {
	for _, x := range rows {
		s := Suggestion{Path: x.Row.Own}
		switch f := x.Finding; {
		case f.Outcome == report.Pass:
		case f.Outcome == report.Broken:
			s.Doubt = f.Reason
		case f.Status >= 300:
			s.Expect = labs.Expectation(fmt.Sprint(f.Status))
		case f.Replied:
			s.Expect = labs.Reachable
		default:
			s.Doubt = f.Reason
		}
		if len(all) > 0 && all[len(all)-1].Own() == s.Own() {
			last := &all[len(all)-1]
			if last.Path != s.Path && last.Doubt == "" {
				last.Doubt = fmt.Sprintf("%s for some Pods, %s for others", last.Expect, s.Expect)
			}
			last.Doubt = cmp.Or(last.Doubt, s.Doubt)
			continue
		}
		all = append(all, s)
	}
	return all
}

// Own is the path without what was seen.
func (s Suggestion) Own() labs.Path {
	s.Path.Expect = labs.Denied
	return s.Path
}

// String is a line of a lab file.
func (s Suggestion) String() string {
	line := fmt.Sprintf("- {from: %s, to: %s, protocol: %s, expect: %s}", s.From, s.To, s.Protocol, s.Expect)
	if s.Doubt != "" {
		return fmt.Sprintf("# %s  # %s", line, strings.ReplaceAll(s.Doubt, "\n", " "))
	}
	return line
}
