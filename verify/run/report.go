package run

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
)

// endOf converts a Ref for the report.
func endOf(w observe.Snapshot, from, r observe.Ref, protocol string) report.End {
	e := report.End{Kind: r.Kind, Name: r.Name, Node: r.Node}
	if _, own := w.Ends[r]; own {
		if _, ip, err := w.Address(from, r, protocol); err == nil {
			e.IP = ip
		}
		return e
	}
	switch r.Kind {
	case "":
	case report.AtContainer:
		e.Name, e.IP = r.Name+"/second", w.PodIPs[r.Name]
	case report.AtNodePort:
		e.Name = r.Name + "@" + r.Node
		ip, _ := observe.NodePortAddress(w.Plan, w.Support, from, r.Node)
		e.IP = ip.String()
	case report.AtNode, report.AtHost:
		e.IP = w.Toward(from, r.Name)
	case report.AtPod:
		e.IP = w.PodIPs[r.Name]
	default:
		if _, ip, err := w.Address(from, r, protocol); err == nil {
			if _, err := netip.ParseAddr(ip); err == nil {
				e.IP = ip
			}
		}
	}
	return e
}

func reportOf(w observe.Snapshot, rows []*attempt, extent checks.Extent, cniVersion string) report.Report {
	out := report.Report{SchemaVersion: report.SchemaVersion, Lab: w.Plan.Lab.String(), Provider: w.Plan.Provider, Kubernetes: w.Plan.Kubernetes.Version,
		CNI: report.CNI{Name: w.Plan.CNI.Name, Version: cmp.Or(cniVersion, w.Plan.CNI.Version)}}
	for _, x := range rows {
		to := endOf(w, x.Row.From, x.Row.To, x.Row.Protocol)
		if x.Row.Peer.IsValid() {
			to.IP = x.Row.Peer.String()
		}
		if x.Row.Through != "" {
			to.Name += "@" + x.Row.Through
			_, to.IP = x.Row.Balancer(w)
		}
		out.Paths = append(out.Paths, report.Result{
			ID: x.Row.ID, Aliases: x.Row.Aliases(), From: endOf(w, x.Row.From, x.Row.From, x.Row.Protocol), To: to,
			Protocol: x.Row.Protocol, Expected: x.Row.Expected, Outcome: x.Finding.Outcome, Reason: x.Finding.Reason,
			Observed: x.Finding.Observed, Properties: x.Finding.Properties, Evidence: x.evidence, Tries: x.tries, Command: x.command,
			Measures: x.Row.Measures, Route: x.Row.Route, Throughput: x.Finding.Throughput, Latency: x.Finding.Latency,
			DurationMillis: x.took.Milliseconds(),
		})
	}
	out.Summary = report.Summarize(out.Paths)
	out.Notices = append(notices(w, out.Paths), unjudged(w, rows)...)
	for _, node := range w.Cordoned {
		out.Notices = append(out.Notices, fmt.Sprintf("Node %s is cordoned (kubectl uncordon %s)", node, node))
	}
	if out.Sample = extent.Sample(w.Plan); out.Sample != nil {
		out.Notices = append(out.Notices, fmt.Sprintf("cross-Node paths were verified between %d of the %d pairs of Nodes, "+
			"each Node at both ends and each combination of networks, and a Service was asked for all its endpoints from one Node of each "+
			"combination; `netlab verify %s --all-pairs` verifies all", out.Sample.Pairs, out.Sample.Of, w.Plan.Lab))
	}
	out.Escape()
	return out
}

// unjudged lists the routes that verify.throughput.min does not apply to, since their links delay or lose packets.
func unjudged(w observe.Snapshot, rows []*attempt) (lines []string) {
	least := w.Plan.Verify.Throughput.Min
	if least == 0 {
		return nil
	}
	for _, x := range rows {
		if x.Row.Measures != report.Throughput || x.Finding.Throughput == nil {
			continue
		}
		worst, _ := checks.Crossed(w, x.Row)
		line := fmt.Sprintf("verify.throughput.min (%s) does not apply to route %s: it crosses links with %s", least, x.Row.Route, worst)
		if worst.Emulated() && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// notices lists the machines that are off, the Nodes that are silent, the links that are down or impaired and,
// if a Node is concerned, who announces each VIP now.
func notices(w observe.Snapshot, paths []report.Result) (lines []string) {
	lines = append(checks.Links(w), checks.Impaired(w)...)
	node := slices.ContainsFunc(w.Plan.Nodes(), func(m topology.Machine) bool { return len(w.LinksDown[m.Name]) > 0 })
	for _, m := range w.Plan.Machines {
		if why := w.Away[m.Name]; why != "" {
			lines = append(lines, why)
			node = node || m.Kind == topology.KindNode
		}
	}
	for _, p := range paths {
		if line := announcement(w, p); node && line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// announcement says who announces the VIP of a path, as far as it was asked for; "" if not.
func announcement(w observe.Snapshot, p report.Result) string {
	owner := p.Property(report.KeyVIPOwner)
	if hops := p.Property(report.KeyNextHops); hops != "" {
		return fmt.Sprintf("VIP %s is announced by %s", p.To.IP, strings.ReplaceAll(hops, " ", ", "))
	}
	switch _, known := w.Plan.Machine(owner); {
	case owner == "":
		return ""
	case known:
		return fmt.Sprintf("VIP %s is announced by %s", p.To.IP, owner)
	}
	return fmt.Sprintf("VIP %s: %s", p.To.IP, owner)
}
