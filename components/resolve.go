package components

import (
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Resolve gives the components that a plan needs: those of every lab, at the versions that
// belong to the plan's Kubernetes (and those of virtual machines, and those that outside
// hosts run), by name; then CNI, load balancer and ingress, which is the
// order they are installed in. It runs once a command, and refuses what is not there or does
// not work together: the error is labs.Problems, each with the field of the lab file.
func (c Catalog) Resolve(p topology.Plan) (Set, error) {
	if err := c.checkServices(p); err != nil {
		return Set{}, err
	}
	set := Set{Plan: p}
	var problems labs.Problems
	refuse := func(field, hint, format string, args ...any) {
		problems = append(problems, labs.Problem{Field: field, Hint: hint, What: fmt.Sprintf(format, args...)})
	}
	var kubernetes string
	for _, name := range c.ofKind(KindKubernetes) {
		kubernetes = name
	}
	release, ok := c.find(kubernetes, p.Kubernetes.Version)
	if !ok {
		refuse("kubernetes.version", "", "%s", c.notShipped("Kubernetes", kubernetes, p.Kubernetes.Version))
		release, _ = c.find(kubernetes, "")
	}
	for _, name := range c.Names() {
		switch kind := c[name][0].Kind; {
		case kind == KindKubernetes:
			set.Components = append(set.Components, release)
		case kind == KindBase || kind == KindMachine && p.Capabilities.OwnKernel || kind == KindHost && c[name][0].runsOn(p):
			set.Components = append(set.Components, c.released(name, release))
		}
	}
	for _, want := range wishes(p) {
		if want.name == "" || want.name == labs.None {
			continue
		}
		k, ok := c.find(want.name, want.version)
		switch available := c.ofKind(want.kind); {
		case !slices.Contains(available, want.name):
			refuse(want.field+".name", "available: "+strings.Join(available, ", "), "%q not found", want.name)
			continue
		case !ok:
			refuse(want.field+".version", "", "%s", c.notShipped(want.name, want.name, want.version))
			continue
		}
		set.Components = append(set.Components, k)
		if works := k.Kubernetes; len(works) > 0 && !slices.Contains(works, minor(release.Version)) {
			refuse(want.field+".name", "supported: "+strings.Join(works, ", "), "%s %s does not support Kubernetes %s", k.Name, k.Version, release.Version)
		}
		s, err := k.supports(p, Artifacts{})
		if err != nil {
			return Set{}, err
		}
		if k.Kind == KindCNI {
			problems = append(problems, k.served(s, p)...)
		}
	}
	if len(problems) > 0 {
		return Set{}, problems
	}
	return set, nil
}

// wish is a component that a lab selects.
type wish struct{ kind, field, name, version string }

// wishes are a plan's, in the order of installation.
func wishes(p topology.Plan) []wish {
	return []wish{
		{KindCNI, "cni", p.CNI.Name, p.CNI.Version},
		{KindLoadBalancer, "loadBalancer", p.LoadBalancer.Name, p.LoadBalancer.Version},
		{KindIngress, "ingress", p.Ingress.Name, p.Ingress.Version},
	}
}

// served refuses a plan in which nothing answers for Services, or two things do.
func (k Component) served(s Support, p topology.Plan) labs.Problems {
	none := p.Kubernetes.Proxy == proxyNone
	switch {
	case none && !s.ReplacesProxy:
		return labs.Problems{{Field: "kubernetes.proxy", What: fmt.Sprintf("none, and %s as configured does not replace kube-proxy: nothing would implement Services", k.Name),
			Hint: "choose a kube-proxy mode, or a CNI that replaces kube-proxy"}}
	case !none && s.ReplacesProxy:
		return labs.Problems{{Field: "cni.options", What: fmt.Sprintf("both kube-proxy (%s) and %s would implement Services", p.Kubernetes.Proxy, k.Name),
			Hint: "set kubernetes.proxy: none"}}
	}
	return nil
}

// proxyNone is the kube-proxy mode in which there is none.
const proxyNone = "none"
