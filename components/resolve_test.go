package components

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

func TestResolve(t *testing.T) {
	c := load(t)
	set := resolve(t, c, quickstart(c))
	var names []string
	for _, k := range set.Components {
		names = append(names, k.Name)
	}
	if last := names[len(names)-3:]; !slices.Equal(last, []string{"flannel", "metallb", "ingress-nginx"}) {
		t.Errorf("install order ends with %v", last)
	}
	bare := quickstart(c)
	bare.CNI.Name, bare.LoadBalancer.Name, bare.Ingress.Name = "none", "none", ""
	for _, k := range resolve(t, c, bare).Components {
		if !k.InEveryLab() {
			t.Errorf("a lab without CNI, load balancer and ingress gets %s", k.Name)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	c := load(t)
	old := c["flannel"][0]
	old.Name, old.Kubernetes = "old-cni", []string{"v1.29", "v1.30"}
	c["old-cni"] = []Component{old}
	tests := map[string]struct {
		change func(*topology.Plan)
		want   string
	}{
		"kubernetes version": {func(p *topology.Plan) { p.Kubernetes.Version = "v1.12.0" },
			"kubernetes.version: Kubernetes v1.12.0 is not available; this release ships v1.37.2, v1.36.3, v1.35.4, v1.34.4"},
		"unknown CNI": {func(p *topology.Plan) { p.CNI.Name = "flanel" }, `cni.name: "flanel" not found; available: ` + strings.Join(c.ofKind(KindCNI), ", ")},
		"wrong kind":  {func(p *topology.Plan) { p.Ingress.Name = "metallb" }, `ingress.name: "metallb" not found; available: ingress-nginx`},
		"CNI version": {func(p *topology.Plan) { p.CNI.Version = "v9" }, "cni.version: flannel v9 is not available; this release ships v0.28.4, v0.28.10"},
		"BFD of a version that has none": {func(p *topology.Plan) {
			p.LoadBalancer = topology.LoadBalancer{Name: "metallb", Version: "v0.16.1", Mode: "bgp", BGP: &topology.BGP{BGP: labs.BGP{BFD: true}}}
		}, "loadBalancer.bgp.bfd: not supported by metallb v0.16.1: the speaker's own BGP has no BFD; remove it"},
		"incompatible": {func(p *topology.Plan) { p.CNI.Name = "old-cni" }, "does not support Kubernetes v1.37.2; supported: v1.29, v1.30"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := quickstart(c)
			test.change(&p)
			_, err := c.Resolve(p)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// All problems are reported together, each with its field.
func TestResolveReportsEverything(t *testing.T) {
	c := load(t)
	p := quickstart(c)
	p.Kubernetes.Version, p.Kubernetes.Proxy, p.Ingress.Name = "v1.12.0", "none", "nginx"
	_, err := c.Resolve(p)
	var problems labs.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	var fields []string
	for _, p := range problems {
		fields = append(fields, p.Field)
	}
	if want := []string{"kubernetes.version", "kubernetes.proxy", "ingress.name"}; !slices.Equal(fields, want) {
		t.Errorf("problems are of %v, want %v", fields, want)
	}
}
