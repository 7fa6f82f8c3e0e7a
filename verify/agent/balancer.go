package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"netlab.dev/netlab/components/cloud/balancer"
)

// errNoBalancer marks a VIP that the host's load balancer does not have.
var errNoBalancer = errors.New("no load balancer")

// balancer asks the load balancer of this host what it does with the target, a VIP.
func (p Probe) balancer(ctx context.Context) (Answer, error) {
	vip, err := netip.ParseAddr(p.Target)
	if err != nil {
		return Answer{}, broken{err}
	}
	state, err := balancer.Read(ctx, balancer.AtSocket(balancer.Socket))
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", errNoBalancer, err)
	}
	a := Answer{Balancer: &state}
	if _, has := state.Find(vip); !has {
		return a, fmt.Errorf("%w has %s", errNoBalancer, vip)
	}
	if state.Problem != "" {
		return a, fmt.Errorf("%w: %s", errNoBalancer, state.Problem)
	}
	return a, nil
}
