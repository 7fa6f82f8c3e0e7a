package checks

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// denial is which policy of the user's forbids what a row asks.
func denial(c Case) (none observe.Denial) {
	if !c.Support.NetworkPolicy {
		return none
	}
	if c.Row.Policy() != nil {
		for _, l := range c.legs() {
			if why := c.between(c.agentPod(l.From), []*corev1.Pod{c.agentPod(l.To)}, c.portOf(l.To, l.Kind)); why != none {
				return why
			}
			if l.Name == "" {
				continue
			}
			if why := c.between(c.agentPod(l.From), c.State.CoreDNS(), dnsPort()); why != none {
				return why
			}
		}
		return none
	}
	client := c.agentPod(c.Row.From)
	if c.Row.Protocol == agent.DNS || c.Row.To.Kind == report.AtName {
		if why := c.between(client, c.State.CoreDNS(), dnsPort()); why != none {
			return why
		}
	}
	for _, kind := range c.kinds() {
		if why := c.denied(client, kind); why != none {
			return why
		}
	}
	return none
}

func dnsPort() observe.Port { return observe.Port{Protocol: corev1.ProtocolUDP, Number: 53} }

// kinds are those of a row's probes to its destination, the main one's first: each goes to a port
// of its own.
func (c Case) kinds() []string {
	asks, err := AsksOf(c.Snapshot, c.Row)
	if err != nil {
		asks = []Ask{PlainAsk(c.Snapshot, c.Row)}
	}
	var out []string
	for _, a := range asks {
		of := slices.Contains([]string{agent.HTTP, agent.HTTPS, agent.TCP, agent.UDP, agent.MTU}, a.Probe.Kind)
		if of && a.Part != PartControl && !slices.Contains(out, a.Probe.Kind) {
			out = append(out, a.Probe.Kind)
		}
	}
	return out
}

// denied is which policy forbids that a client sends a kind of probe to the row's destination.
func (c Case) denied(client *corev1.Pod, kind string) (none observe.Denial) {
	port := c.portOf(c.Row.To, kind)
	switch c.Row.To.Kind {
	case report.AtContainer:
		return none // policies do not select what a Pod sends to itself
	case report.AtIngress:
		controllers := c.State.IngressController()
		if why := c.between(client, controllers, port); why != none {
			return why
		}
		for _, x := range controllers {
			if why := c.between(x, c.backends(), c.portOf(observe.AtService(""), agent.HTTP)); why != none {
				return why
			}
		}
		return none
	}
	return c.between(client, c.targets(c.Row.To), port)
}

// backends are the Pods behind the row's host and path of the Ingress.
func (c Case) backends() []*corev1.Pod {
	for _, route := range workload.IngressRoutes() {
		if route.Host+route.Path == c.Row.To.Name {
			return c.targets(observe.AtService(route.Service))
		}
	}
	return nil
}

// portOf is the port at which a kind of probe arrives at what is behind a destination.
func (c Case) portOf(to observe.Ref, kind string) observe.Port {
	at := observe.Port{Protocol: corev1.ProtocolTCP, Number: observe.DataPort(kind)}
	if kind == agent.UDP || kind == agent.MTU {
		at.Protocol = corev1.ProtocolUDP
	}
	if e, own := c.Ends[to]; own {
		at.Number = e.Port
		if len(e.Behind) > 0 {
			at.Number = e.Behind[0].Port
		}
		return at
	}
	switch {
	case to.Kind == report.AtIngress && kind == agent.HTTPS:
		at.Number = 443
	case to.Kind == report.AtIngress:
		at.Number = 80
	case to.Kind == report.AtNode:
		at.Number = agent.HostNetworkHTTP
	case to.Kind == report.AtService && to.Name == workload.ServiceAPI:
		at.Number = int(c.Plan.Kubernetes.API.Port())
	}
	return at
}

// agentPod is the Pod of an end; nil where the end is not a Pod with its own network.
func (c Case) agentPod(r observe.Ref) *corev1.Pod {
	if p := c.Ends[r].Pod; p.UID != "" {
		return c.State.Pod(p.Namespace, p.Name)
	}
	p, ok := c.Pods.Pod(r.Name)
	if r.Kind != report.AtPod || !ok {
		return nil
	}
	return c.State.Pod(p.Namespace, p.Name)
}

// targets are the Pods that may answer at a far end.
func (c Case) targets(r observe.Ref) []*corev1.Pod {
	if e, own := c.Ends[r]; own {
		var out []*corev1.Pod
		for _, b := range e.Behind {
			if b.Pod.UID != "" {
				out = append(out, c.State.Pod(b.Pod.Namespace, b.Pod.Name))
			}
		}
		return out
	}
	if p, ok := c.Pods.Pod(r.Name); ok && (r.Kind == report.AtPod || r.Kind == report.AtNodePort) {
		return []*corev1.Pod{c.State.Pod(p.Namespace, p.Name)}
	}
	var out []*corev1.Pod
	for _, name := range c.Services[r.Name].Ready {
		out = append(out, c.State.Pod(workload.Namespace, name))
	}
	return out
}

// between is which policy forbids that a client (nil: not a Pod) reaches one of some Pods.
func (c Case) between(client *corev1.Pod, targets []*corev1.Pod, port observe.Port) (none observe.Denial) {
	if len(targets) == 0 {
		return c.State.Denied(observe.Egress, client, nil, port)
	}
	for _, target := range targets {
		if why := c.State.Denied(observe.Egress, client, target, port); why != none {
			return why
		}
		if why := c.State.Denied(observe.Ingress, target, client, port); why != none {
			return why
		}
	}
	return none
}
