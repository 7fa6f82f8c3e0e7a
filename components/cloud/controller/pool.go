package controller

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Config is the controller's configuration, a file that the component makes of the plan.
type Config struct {
	Host      string `json:"host"`      // that it runs on, and its name in the lease
	Namespace string `json:"namespace"` // of the lease
	Lease     string `json:"lease"`
	Pools     []Pool `json:"pools"` // a Service that asks for none gets a VIP of the first with a free one
}

// Pool is the VIPs on one network.
type Pool struct {
	Name   string  `json:"name"`
	NIC    string  `json:"nic"`
	Ranges []Range `json:"ranges"`
}

// Range is some VIPs, Last included.
type Range struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
}

// AnnotationPool names the pool that a Service's VIP is to be of; supports.yaml says it to others.
const AnnotationPool = "cloud.netlab.dev/pool"

func (p Pool) has(a netip.Addr) bool {
	for _, r := range p.Ranges {
		if r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 {
			return true
		}
	}
	return false
}

// pools allocates VIPs during one pass.
type pools struct {
	all   []Pool
	taken map[netip.Addr]string // by whom: NAMESPACE/NAME
}

// wanted are the pools that a Service's VIP may be of.
func (p pools) wanted(s *corev1.Service) ([]Pool, error) {
	name := s.Annotations[AnnotationPool]
	if name == "" {
		return p.all, nil
	}
	for _, pool := range p.all {
		if pool.Name == name {
			return []Pool{pool}, nil
		}
	}
	return nil, fmt.Errorf("annotation %s: no pool %q", AnnotationPool, name)
}

// keep returns the VIP that a Service has and its pool, and takes it, if it is what the Service asks for and free.
func (p pools) keep(s *corev1.Service) (netip.Addr, Pool, bool) {
	if len(s.Status.LoadBalancer.Ingress) != 1 {
		return netip.Addr{}, Pool{}, false
	}
	vip, err := netip.ParseAddr(s.Status.LoadBalancer.Ingress[0].IP)
	if err != nil || s.Spec.LoadBalancerIP != "" && s.Spec.LoadBalancerIP != vip.String() {
		return netip.Addr{}, Pool{}, false
	}
	pool, err := p.take(s, vip)
	return vip, pool, err == nil
}

// take gives a Service one VIP.
func (p pools) take(s *corev1.Service, vip netip.Addr) (Pool, error) {
	wanted, err := p.wanted(s)
	if err != nil {
		return Pool{}, err
	}
	for _, pool := range wanted {
		if !pool.has(vip) {
			continue
		}
		if by := p.taken[vip]; by != "" {
			return Pool{}, fmt.Errorf("%s is the address of Service %s", vip, by)
		}
		p.taken[vip] = key(s)
		return pool, nil
	}
	return Pool{}, fmt.Errorf("%s is in no pool", vip)
}

// allocate gives a Service the address that it asks for, or any.
func (p pools) allocate(s *corev1.Service) (netip.Addr, Pool, error) {
	if asked := s.Spec.LoadBalancerIP; asked != "" { // deprecated, and still what most providers heed
		vip, err := netip.ParseAddr(asked)
		if err != nil {
			return netip.Addr{}, Pool{}, fmt.Errorf("loadBalancerIP: %w", err)
		}
		pool, err := p.take(s, vip)
		return vip, pool, err
	}
	wanted, err := p.wanted(s)
	if err != nil {
		return netip.Addr{}, Pool{}, err
	}
	for _, pool := range wanted {
		for _, r := range pool.Ranges {
			for vip := r.First; vip.IsValid() && vip.Compare(r.Last) <= 0; vip = vip.Next() {
				if p.taken[vip] == "" {
					p.taken[vip] = key(s)
					return vip, pool, nil
				}
			}
		}
	}
	return netip.Addr{}, Pool{}, fmt.Errorf("no free address in %d pools", len(wanted))
}

// key names a Service.
func key(s *corev1.Service) string { return s.Namespace + "/" + s.Name }
