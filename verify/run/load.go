package run

import (
	"fmt"

	"netlab.dev/netlab/internal/shell"
	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// loadOf returns the load that the client of a measured path makes, and its server.
func loadOf(w observe.Snapshot, p checks.Row) (l agent.Load, from, to observe.Station, err error) {
	server := p.To
	if p.To.Kind != report.AtNode {
		server = observe.AtPod(w.Pods.Echo[0])
	}
	if from, err = w.Station(p.From); err != nil {
		return
	}
	if to, err = w.Station(server); err != nil {
		return
	}
	target, ip, err := w.Address(p.From, p.To, p.Protocol)
	if err != nil {
		return
	}
	port := agent.PortLoad
	if p.To.Kind == report.AtNode {
		port = agent.HostNetworkLoad
	}
	l = agent.Load{Kind: p.Protocol, Target: observe.JoinPort(ip, port), Streams: p.Streams, Reverse: p.Direction == report.Reverse,
		Seconds: max(int(w.Plan.Verify.Throughput.Duration.Seconds()), 1)}
	switch p.To.Kind {
	case report.AtNodePort:
		// TCP and UDP of one port get the same NodePort, as iperf3 requires: its client opens
		// both with the same number.
		nodePort := w.Services[p.To.Name].NodePorts[agent.PortLoad]
		if nodePort == 0 {
			err = observe.Absent{Why: fmt.Sprintf("Service %s has no NodePort for measurements", p.To.Name)}
			return
		}
		l.Target = observe.JoinPort(ip, int(nodePort))
	case report.AtIngress:
		l.Host, l.Target = workload.IngressHosts()[0], "http://"+target+workload.LoadPath
	}
	if p.IsLatency() {
		l.Kind, l.Connect = agent.LoadRequests, p.Connect
	}
	return
}

// serverKind is the kind of server that a path's client requires.
func serverKind(p checks.Row) string {
	if p.IsLatency() && p.Protocol != agent.LoadHTTP {
		return agent.LoadRequests
	}
	return p.Protocol
}

func measureCommand(w observe.Snapshot, p checks.Row) string {
	flag := "--throughput="
	if p.IsLatency() {
		flag = "--latency="
	}
	return shell.Join("netlab", "verify", w.Plan.Lab.String(), flag+p.Route)
}
