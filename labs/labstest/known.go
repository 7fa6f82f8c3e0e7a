// Package labstest gives tests a labs.Known that does not change when a component's
// pin does.
package labstest

import "netlab.dev/netlab/labs"

// Known offers two or more of whatever a lab chooses, under made-up versions where
// real ones would go stale.
func Known() labs.Known {
	return labs.Known{
		Providers:  []string{"netns", "kind", "libvirt"},
		Kubernetes: []string{"v1.37.2", "v1.36.3"},
		ProxyModes: []string{"nftables", "iptables", "ipvs"},
		CNIs: map[string]labs.Choice{
			"flannel": {Versions: []string{"v0.28.4"}, Options: map[string][]string{"backend": {"vxlan", "host-gw"}}},
			"cilium":  {Versions: []string{"v1.20.2", "v1.20.1"}, Options: map[string][]string{"routing": {"tunnel", "native"}, "label": nil}},
		},
		LoadBalancers: map[string]labs.Choice{"metallb": {Versions: []string{"v0.15.2"}, Modes: []string{"l2"}}},
		Ingresses:     map[string]labs.Choice{"ingress-nginx": {Versions: []string{"v1.11.0"}, Modes: []string{"LoadBalancer", "NodePort"}}},
	}
}
