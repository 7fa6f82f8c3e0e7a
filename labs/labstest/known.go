// Package labstest provides a labs.Known for tests that does not change when the version of a
// component does.
package labstest

import (
	"errors"
	"strings"

	"netlab.dev/netlab/labs"
)

// Known offers two or more choices of each kind, with made-up versions where real ones would
// become outdated.
func Known() labs.Known {
	proxies := []string{"nftables", "iptables", "ipvs"}
	routing := map[string][]string{"routing": {"tunnel", "native"}, "label": nil}
	return labs.Known{
		Providers:  []string{"netns", "kind", "vm"},
		Sections:   map[string]labs.Section{"vm": {New: func() labs.Settings { return &VM{} }}},
		Kubernetes: labs.Choices{{Version: "v1.37.2", Modes: proxies}, {Version: "v1.36.3", Modes: proxies}},
		Images:     []string{"nginx", "toolbox"},
		Services: map[string][]string{
			labs.FieldRouting: {"frr"}, labs.FieldVRRP: {"keepalived"},
			labs.RoleRouter: {"agent"}, labs.RoleClient: {"agent"}, labs.RoleInternet: {"agent", "outside-dns"}, labs.RoleAPILB: {"agent", "haproxy"}, labs.RoleLoadBalancer: {"agent", "haproxy"}, labs.RoleCloud: {"agent", "cloud"},
		},
		CNIs: map[string]labs.Choices{
			"flannel": {{Version: "v0.28.4", Preferred: true, Options: map[string][]string{"backend": {"vxlan", "host-gw"}}}},
			"cilium":  {{Version: "v1.20.2", Options: routing}, {Version: "v1.20.1", Options: routing}},
		},
		LoadBalancers: map[string]labs.Choices{
			"metallb": {{Version: "v0.15.2", Preferred: true, Modes: []string{"l2"}}, {Version: "v0.16.1", Modes: []string{"l2", "bgp"}}},
			"cloud":   {{Version: "self", Modes: []string{"external"}, Host: labs.RoleCloud}},
		},
		Ingresses: map[string]labs.Choices{"ingress-nginx": {{Version: "v1.11.0", Modes: []string{"LoadBalancer", "NodePort"}}}},
	}
}

// VM is the section of provider vm, whose Nodes have their own kernels, on this machine or on
// another.
type VM struct {
	URI   string     `json:"uri,omitempty"` // where all Nodes run that say nothing else
	CPUs  int        `json:"cpus,omitempty"`
	Image labs.Image `json:"image,omitzero"`
}

// Fill implements labs.Settings.
func (v *VM) Fill() {
	if v.CPUs == 0 {
		v.CPUs = 2
	}
}

// Validate implements labs.Settings: a machine has at least one CPU.
func (v *VM) Validate(reported func(string) bool) (problems labs.Problems) {
	if v.CPUs < 1 && !reported("cpus") {
		problems = append(problems, labs.Problem{Field: "cpus", What: "too few", Hint: "use 1"})
	}
	return problems
}

// Traits implements labs.Settings.
func (v *VM) Traits() labs.Traits {
	return labs.Traits{OwnKernel: true, Remote: true, Summary: "virtual machines", Image: v.Image, Largest: 4 << 30, LargestField: "disk"}
}

// Place implements labs.Settings: vm://HOST is written HOST too.
func (v *VM) Place(hypervisor string) (labs.Place, error) {
	if hypervisor == "" {
		hypervisor = v.URI
	}
	host := strings.TrimPrefix(hypervisor, "vm://")
	switch {
	case host == "":
		return labs.Place{}, nil
	case strings.Contains(host, "/"):
		return labs.Place{}, errors.New("is not a host")
	}
	return labs.Place{Host: host, URI: "vm://" + host}, nil
}
