package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"netlab.dev/netlab/components/cloud/balancer"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// BalancerStatus is a port of the load balancer that a Service has on a host outside the cluster.
type BalancerStatus struct {
	Service  string     `json:"service"` // NAMESPACE/NAME
	VIP      netip.Addr `json:"vip"`
	Port     string     `json:"port"` // 80/tcp
	NodePort uint16     `json:"nodePort"`
	Check    string     `json:"check"`   // how Nodes are asked for their health
	Healthy  []string   `json:"healthy"` // Nodes that it forwards to
	Out      []OutOf    `json:"out,omitempty"`
}

// OutOf is a Node that a load balancer does not forward to, and why.
type OutOf struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// balancersLimit bounds asking the host.
const balancersLimit = 5 * time.Second

// balancersOf asks the host that has the VIPs of a lab in mode external, if it is on, what it does.
func balancersOf(ctx context.Context, running providers.Running, plan topology.Plan) ([]BalancerStatus, error) {
	host, external := plan.External()
	machine, known := running.Machines[host.Name]
	if !external || !known || slices.Contains(running.Off, host.Name) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, balancersLimit)
	defer cancel()
	state, err := balancer.Read(ctx, func(ctx context.Context) (net.Conn, error) { return machine.Dial(ctx, balancer.Socket) })
	if err == nil && state.Problem != "" {
		err = fmt.Errorf("%s", state.Problem)
	}
	if err != nil {
		err = fmt.Errorf("load balancer of host %s: %w", host.Name, err)
	}
	return balancersIn(state), err
}

// balancersIn lists the ports of a load balancer.
func balancersIn(state balancer.State) (all []BalancerStatus) {
	for _, b := range state.Balancers {
		for _, l := range b.Listeners {
			s := BalancerStatus{Service: b.Service, VIP: b.VIP, Port: fmt.Sprintf("%d/%s", l.Port, l.Protocol), NodePort: l.NodePort, Check: l.Check.String(), Healthy: []string{}}
			for _, h := range state.Health {
				switch {
				case h.Check != l.Check:
				case h.Healthy:
					s.Healthy = append(s.Healthy, h.Node.Name)
				default:
					s.Out = append(s.Out, OutOf{h.Node.Name, h.Why})
				}
			}
			all = append(all, s)
		}
	}
	return all
}
