package workload

import (
	"fmt"
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

// VIPServices names the Services of type LoadBalancer: two in the network of the first pool,
// and one in each other network with pools.
func VIPServices(plan topology.Plan) []string {
	names := []string{ServiceLB, ServiceLBLocal}
	for i := 1; i < len(plan.VIPNetworks()); i++ {
		names = append(names, fmt.Sprintf("%s-%d", ServiceLB, i+1))
	}
	return names
}

// VIPNetwork is the network of a Service's VIP: that of the first pool, but for the Services
// that VIPServices has for other networks. False: the lab has no pools.
func VIPNetwork(plan topology.Plan, service string) (topology.VIPNetwork, bool) {
	networks := plan.VIPNetworks()
	for i := range networks {
		if i > 0 && service == fmt.Sprintf("%s-%d", ServiceLB, i+1) {
			return networks[i], true
		}
	}
	if len(networks) == 0 {
		return topology.VIPNetwork{}, false
	}
	return networks[0], true
}

// VIPFor reports whether the pools of its network have an address for a Service, after those
// that come before it: the Ingress controller's, then echo-lb's.
func VIPFor(plan topology.Plan, service string) bool {
	network, ok := VIPNetwork(plan, service)
	if !ok {
		return false
	}
	need := 1
	if service != ServiceLB && service != ServiceLBLocal {
		return PoolSize(network.Pools) >= need
	}
	if HasIngress(plan) && plan.Ingress.Service == "LoadBalancer" {
		need++
	}
	if service == ServiceLBLocal {
		need++
	}
	return PoolSize(network.Pools) >= need
}

// PoolSize counts the addresses of the pools, up to a number that is always enough.
func PoolSize(pools []topology.Pool) int {
	const enough = 1 << 16
	size := 0
	for _, p := range pools {
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
