// Package verifytest holds the assertions of lab tests about a report.Report, whichever
// provider and CNI the lab has. It makes no lab.
package verifytest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/trace"
)

// Way is how a lab's CNI and mode handle packets.
type Way struct {
	Encapsulated bool   // between Nodes they are encapsulated in VXLAN
	Inside       string // what translates a Service for Pods: "kube-proxy" or "CNI"
	Outside      string // likewise, for outside hosts
}

// Evidence checks the hops of a report made with evidence for what characterizes five kinds
// of path: between Nodes the tunnel and no translation, DNAT for a ClusterIP, SNAT on the
// way out, the owner of a VIP by ARP, and the ingress controller's own connection. Each must
// be in the report.
func Evidence(t testing.TB, r report.Report, way Way) {
	t.Helper()
	shown := map[string]func(testing.TB, report.Result, Way){
		checks.PodToPodCrossNode: crossNode, checks.PodToClusterIP: clusterIP, checks.PodToOutside: outward,
		checks.OutsideToLoadBalancer: loadBalancer, checks.OutsideToIngressHTTP: ingress,
	}
	seen := map[string]bool{}
	for _, p := range r.Paths {
		check := shown[p.ID]
		if check == nil {
			continue
		}
		if p.Outcome != report.Pass {
			t.Errorf("%s: %s %s", title(p), p.Outcome, p.Reason)
			continue
		}
		if p.Evidence == nil || len(p.Evidence.Hops) == 0 {
			t.Errorf("%s has no evidence", title(p))
			continue
		}
		seen[p.ID] = true
		tb := &explained{TB: t, path: p}
		ordered(tb, p)
		check(tb, p, way)
	}
	for id := range shown {
		if !seen[id] {
			t.Errorf("no path %s with evidence", id)
		}
	}
}

// explained is a testing.TB that logs a path's hops after its first error.
type explained struct {
	testing.TB
	path   report.Result
	logged bool
}

func (s *explained) Errorf(format string, args ...any) {
	s.Helper()
	s.TB.Errorf(title(s.path)+": "+format, args...)
	if !s.logged {
		s.logged = true
		s.Log("\n" + strings.Join(s.path.Evidence.Lines(120), "\n"))
	}
}

func title(p report.Result) string { return p.ID + " " + p.From.Name + " → " + p.To.Name }

// ordered: time starts at 0 and never goes back, and the answer returns to where it began.
func ordered(t testing.TB, p report.Result) {
	t.Helper()
	hops := p.Evidence.Hops
	if hops[0].Micros != 0 || !slices.IsSortedFunc(hops, func(a, b report.Hop) int { return int(a.Micros - b.Micros) }) {
		t.Errorf("its hops are not in the order of time")
	}
	if p.Evidence.Lost != "" {
		t.Errorf("it passed, and yet is reported as lost: %s", p.Evidence.Lost)
	}
	first := hops[0]
	if !slices.ContainsFunc(hops, func(h report.Hop) bool {
		return h.Leg == trace.Reply && h.Direction == trace.In && h.Machine == first.Machine && h.Pod == first.Pod
	}) {
		t.Errorf("no answer returned to where it began")
	}
}

// requests are the hops of the request, without ARP.
func requests(p report.Result) []report.Hop {
	return slices.DeleteFunc(slices.Clone(p.Evidence.Hops), func(h report.Hop) bool {
		return h.Leg != trace.Request || strings.HasPrefix(h.Packet, "ARP")
	})
}

// changes are those changes at some hops whose text begins with what, and the hops.
func changes(hops []report.Hop, what string) (found []report.Change, at []report.Hop) {
	for _, h := range hops {
		for _, c := range h.Changes {
			if strings.HasPrefix(c.What, what) {
				found, at = append(found, c), append(at, h)
			}
		}
	}
	return found, at
}

func address(text string) string {
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a.Addr().String()
	}
	return text
}

func crossNode(t testing.TB, p report.Result, way Way) {
	t.Helper()
	hops := requests(p)
	first, last := hops[0], hops[len(hops)-1]
	if first.Pod != p.From.Name || first.Direction != trace.Out || last.Pod != p.To.Name || last.Direction != trace.In {
		t.Errorf("it goes from %s (%s) to %s (%s)", first.Pod, first.Direction, last.Pod, last.Direction)
	}
	for _, h := range hops {
		if address(h.Source) != p.From.IP || address(h.Destination) != p.To.IP {
			t.Errorf("translated at %s %s: %s → %s", h.Machine, h.Interface, h.Source, h.Destination)
		}
	}
	for _, side := range []struct{ node, direction string }{{p.From.Node, trace.Out}, {p.To.Node, trace.In}} {
		at := slices.IndexFunc(hops, func(h report.Hop) bool {
			return h.Machine == side.node && h.Pod == "" && h.Interface == "eth0" && h.Direction == side.direction
		})
		if at < 0 {
			t.Errorf("it was not seen on %s eth0 %s", side.node, side.direction)
			continue
		}
		outer := hops[at].Outer
		switch {
		case !way.Encapsulated && outer != nil:
			t.Errorf("on %s eth0 it is encapsulated in %s", side.node, outer.Kind)
		case way.Encapsulated && (outer == nil || outer.Kind != "VXLAN" || outer.VNI == 0 || outer.Source == p.From.IP || outer.Destination == p.To.IP):
			t.Errorf("on %s eth0 it is not in a VXLAN between Nodes: %+v", side.node, outer)
		}
	}
}

func clusterIP(t testing.TB, p report.Result, way Way) {
	t.Helper()
	translated(t, p, way.Inside)
}

// translated: the Service's address becomes a Pod's, once, and by the expected part. Where a
// CNI hands the packet to its Pod without an interface, the answer shows that it was.
func translated(t testing.TB, p report.Result, by string) {
	t.Helper()
	service := p.To.IP
	found, at := changes(requests(p), "DNAT "+service+":")
	if len(found) == 0 && slices.ContainsFunc(p.Evidence.Hidden, func(h string) bool { return strings.Contains(h, " on the way into ") }) {
		found, at = changes(p.Evidence.Hops, "DNAT undone ")
		for i, c := range found {
			if !strings.Contains(c.What, " → "+service+":") {
				t.Errorf("undone for something other than %s: %s", service, c.What)
			}
			if address(at[i].Source) != service {
				t.Errorf("the answer comes from %s, not %s", at[i].Source, service)
			}
		}
		at = nil
	}
	switch {
	case len(found) != 1:
		t.Errorf("%d translations of %s", len(found), service)
	case found[0].By != by:
		t.Errorf("translated by %q, want %q", found[0].By, by)
	case len(at) > 0 && address(at[0].Destination) == service:
		t.Errorf("%s is translated to itself", service)
	}
}

func outward(t testing.TB, p report.Result, _ Way) {
	t.Helper()
	hops := requests(p)
	found, at := changes(hops, "SNAT "+p.From.IP+":")
	switch {
	case len(found) != 1:
		t.Errorf("%d translations of the Pod's address", len(found))
	case found[0].By != "CNI" || at[0].Machine != p.From.Node:
		t.Errorf("translated by %q at %s", found[0].By, at[0].Machine)
	case address(at[0].Source) != p.Observed.SourceIP:
		t.Errorf("translated to %s, but the outside host saw %s", at[0].Source, p.Observed.SourceIP)
	}
	if last := hops[len(hops)-1]; last.Machine != p.To.Name || last.Direction != trace.In || address(last.Destination) != p.To.IP {
		t.Errorf("it ends at %s %s", last.Machine, last.Interface)
	}
	if routed, _ := changes(hops, "TTL "); !slices.ContainsFunc(routed, func(c report.Change) bool { return c.By == "router" }) {
		t.Errorf("no router forwarded it")
	}
}

// owner: a Node answers ARP for the VIP, and that Node receives the packets.
func owner(t testing.TB, p report.Result) {
	t.Helper()
	found, at := changes(p.Evidence.Hops, p.To.IP+" is at ")
	if len(found) != 1 || found[0].By != "metallb" || at[0].Direction != trace.Out {
		t.Errorf("ARP for %s is answered %d times: %+v", p.To.IP, len(found), found)
		return
	}
	if !slices.ContainsFunc(requests(p), func(h report.Hop) bool { return h.Machine == at[0].Machine && h.Pod == "" && h.Direction == trace.In }) {
		t.Errorf("%s has the VIP but received no packet", at[0].Machine)
	}
}

func loadBalancer(t testing.TB, p report.Result, way Way) {
	t.Helper()
	owner(t, p)
	translated(t, p, way.Outside)
}

func ingress(t testing.TB, p report.Result, way Way) {
	t.Helper()
	owner(t, p)
	translated(t, p, way.Outside)
	hops := requests(p)
	if p.Observed.Backend == "" {
		return // the controller's own answer, to a host that it does not know
	}
	if found, _ := changes(hops, "connection "); len(found) != 1 || found[0].By != "ingress" {
		t.Errorf("%d connections made by the ingress controller", len(found))
	}
	if last := hops[len(hops)-1]; last.Direction != trace.In || last.Pod == "" {
		t.Errorf("it ends at %s %s", last.Machine, last.Interface)
	}
}
