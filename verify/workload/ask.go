package workload

import (
	"math/big"
	"net/netip"

	"netlab.dev/netlab/topology"
)

// OutsideName is the DNS name of the internet host, without its final dot; "" where
// there is none.
func OutsideName(plan topology.Plan) string {
	if host := OutsideHost(plan); host != "" {
		return host + ".outside.test"
	}
	return ""
}

// OutsideHost names the internet host, "" where there is none.
func OutsideHost(plan topology.Plan) string {
	for _, m := range plan.WithRole(topology.RoleInternet) {
		return m.Name
	}
	return ""
}

// Local reports whether a Service has externalTrafficPolicy Local.
func Local(service string) bool { return service == ServiceNodePortLocal || service == ServiceLBLocal }

// HasLoadBalancer reports whether something gives Services of type LoadBalancer a VIP.
func HasLoadBalancer(plan topology.Plan) bool {
	return plan.LoadBalancer.Name != "" && plan.LoadBalancer.Name != "none"
}

// HasIngress reports whether there is an ingress controller.
func HasIngress(plan topology.Plan) bool {
	return plan.Ingress.Name != "" && plan.Ingress.Name != "none"
}

// VIPFor reports whether the pools have an address for a Service, after those that come
// before it: the Ingress controller's, then echo-lb's.
func VIPFor(plan topology.Plan, service string) bool {
	need := 1
	if HasIngress(plan) && plan.Ingress.Service == "LoadBalancer" {
		need++
	}
	if service == ServiceLBLocal {
		need++
	}
	return PoolSize(plan) >= need
}

// PoolSize counts the addresses of the pools, up to a number that is always enough.
func PoolSize(plan topology.Plan) int {
	const enough = 1 << 16
	size := 0
	for _, p := range plan.LoadBalancer.Pools {
		first, last := bigInt(p.First), bigInt(p.Last)
		n := new(big.Int).Sub(last, first)
		if !n.IsInt64() || n.Int64() >= enough {
			return enough
		}
		size += int(n.Int64()) + 1
	}
	return size
}

func bigInt(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
