// Package labstest provides a labs.Known for tests that does not change when the version of a
// component does.
package labstest

import "netlab.dev/netlab/labs"

// Known offers two or more choices of each kind, with made-up versions where real ones would
// become outdated.
func Known() labs.Known {
	proxies := []string{"nftables", "iptables", "ipvs"}
	routing := map[string][]string{"routing": {"tunnel", "native"}, "label": nil}
	return labs.Known{
		Providers:  []string{"netns", "kind", "libvirt"},
		Kubernetes: labs.Choices{{Version: "v1.37.2", Modes: proxies}, {Version: "v1.36.3", Modes: proxies}},
		CNIs: map[string]labs.Choices{
			"flannel": {{Version: "v0.28.4", Preferred: true, Options: map[string][]string{"backend": {"vxlan", "host-gw"}}}},
			"cilium":  {{Version: "v1.20.2", Options: routing}, {Version: "v1.20.1", Options: routing}},
		},
		LoadBalancers: map[string]labs.Choices{"metallb": {{Version: "v0.15.2", Modes: []string{"l2"}}}},
		Ingresses:     map[string]labs.Choices{"ingress-nginx": {{Version: "v1.11.0", Modes: []string{"LoadBalancer", "NodePort"}}}},
	}
}
