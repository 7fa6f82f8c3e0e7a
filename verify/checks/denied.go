package checks

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

const (
	portDNS  = 53
	portHTTP = 80
)

// deniedByPolicy: a policy of the user's forbids what a row asks.
func deniedByPolicy(c Case) string {
	if !c.Support.NetworkPolicy {
		return ""
	}
	if p := c.Row.Policy(); p != nil {
		x := p.Scenario(c.Snapshot)
		for _, l := range append(slices.Clone(x.Denied), x.Allowed...) {
			port := agent.PortHTTP
			if l.Kind == agent.TCP {
				port = agent.PortTCP
			}
			if why := c.between(c.agentPod(l.From), []*corev1.Pod{c.agentPod(l.To)}, port); why != "" {
				return why
			}
		}
		return ""
	}
	client := c.agentPod(c.Row.From)
	if c.Row.Protocol == agent.DNS || c.Row.To.Kind == report.AtName {
		if why := c.between(client, c.State.CoreDNS(), portDNS); why != "" {
			return why
		}
	}
	if c.Row.To.Kind != report.AtIngress {
		return c.between(client, c.targets(c.Row.To), agent.PortHTTP)
	}
	controllers := c.State.IngressController()
	if why := c.between(client, controllers, portHTTP); why != "" {
		return why
	}
	for _, route := range workload.IngressRoutes() {
		if route.Host+route.Path != c.Row.To.Name {
			continue
		}
		for _, x := range controllers {
			if why := c.between(x, c.targets(observe.AtService(route.Service)), agent.PortHTTP); why != "" {
				return why
			}
		}
	}
	return ""
}

// agentPod is the Pod of an end; nil where the end is not a Pod with its own network.
func (c Case) agentPod(r observe.Ref) *corev1.Pod {
	p, ok := c.Pods.Pod(r.Name)
	if r.Kind != report.AtPod || !ok {
		return nil
	}
	return c.State.Pod(p.Namespace, p.Name)
}

// targets are the Pods that may answer at a far end.
func (c Case) targets(r observe.Ref) []*corev1.Pod {
	if r.Kind == report.AtPod {
		return []*corev1.Pod{c.agentPod(r)}
	}
	var out []*corev1.Pod
	for _, name := range c.Services[r.Name].Ready {
		out = append(out, c.State.Pod(workload.Namespace, name))
	}
	return out
}

// between is which policy forbids that a client (nil: not a Pod) reaches one of some Pods.
func (c Case) between(client *corev1.Pod, targets []*corev1.Pod, port int) string {
	if len(targets) == 0 {
		return c.State.Denied(observe.Egress, client, nil, port)
	}
	for _, target := range targets {
		if why := c.State.Denied(observe.Egress, client, target, port); why != "" {
			return why
		}
		if why := c.State.Denied(observe.Ingress, target, client, port); why != "" {
			return why
		}
	}
	return ""
}
