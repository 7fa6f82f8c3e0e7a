package components

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Resolve returns the components that a plan requires: those of every lab, at the versions that
// belong to the plan's Kubernetes (and those of virtual machines, those that outside
// hosts run, and the images that the lab lists), by name; then CNI, load balancer and ingress, which is the
// order they are installed in. It runs once per command, and refuses what is not available or
// does not work together: the error is labs.Problems, each with the field of the lab file.
func (c Catalog) Resolve(p topology.Plan) (Set, error) {
	if err := c.checkServices(p); err != nil {
		return Set{}, err
	}
	r := resolving{catalog: c, set: Set{Plan: p}}
	release := r.release()
	for _, name := range c.Names() {
		switch k := c.released(name, release); {
		case k.Kind == KindKubernetes:
			r.set.Components = append(r.set.Components, release)
		case k.Kind == KindBase || k.Kind == KindMachine && p.Capabilities.OwnKernel || k.Kind == KindHost && k.runsOn(p), k.Kind == KindImages && slices.Contains(p.Images, k.Name):
			r.set.Components = append(r.set.Components, k)
		}
	}
	for _, w := range wishes(p) {
		if err := r.choose(w, release); err != nil {
			return Set{}, err
		}
	}
	if len(r.problems) > 0 {
		return Set{}, r.problems
	}
	return r.set, nil
}

// resolving is one call of Resolve.
type resolving struct {
	catalog  Catalog
	set      Set
	problems labs.Problems
}

func (r *resolving) refuse(field, hint, format string, args ...any) {
	r.problems = append(r.problems, labs.Problem{Field: field, Hint: hint, What: fmt.Sprintf(format, args...)})
}

// release is the plan's Kubernetes; if that version is not available the default one, so that
// the rest is resolved too.
func (r *resolving) release() (release Component) {
	for _, name := range r.catalog.ofKind(KindKubernetes) {
		version := r.set.Plan.Kubernetes.Version
		found, ok := r.catalog.find(name, version)
		if !ok {
			r.refuse("kubernetes.version", "", "%s", r.catalog.notShipped("Kubernetes", name, version))
			found, _ = r.catalog.find(name, "")
		}
		release = found
	}
	return release
}

// choose adds what a lab selects.
func (r *resolving) choose(w wish, release Component) error {
	if w.name == "" || w.name == labs.None {
		return nil
	}
	k, ok := r.catalog.find(w.name, w.version)
	switch available := r.catalog.ofKind(w.kind); {
	case !slices.Contains(available, w.name):
		r.refuse(w.field+".name", "available: "+strings.Join(available, ", "), "%q not found", w.name)
		return nil
	case !ok:
		r.refuse(w.field+".version", "", "%s", r.catalog.notShipped(w.name, w.name, w.version))
		return nil
	}
	r.set.Components = append(r.set.Components, k)
	if works := k.Kubernetes; len(works) > 0 && !slices.Contains(works, minor(release.Version)) {
		r.refuse(w.field+".name", "supported: "+strings.Join(works, ", "), "%s %s does not support Kubernetes %s", k.Name, k.Version, release.Version)
	}
	for _, x := range k.Refuses {
		if fieldOf(r.set.Plan, x.Field) == x.Value {
			r.refuse(x.Field, "remove it", "not supported by %s %s: %s", k.Name, k.Version, x.Why)
		}
	}
	var supports Support
	err := k.supports(r.set.Plan, Artifacts{}, &supports)
	if err == nil && k.Kind == KindCNI {
		r.problems = append(r.problems, k.served(supports, r.set.Plan)...)
	}
	if k.Service != nil {
		r.problems = append(r.problems, k.apart(w.field, r.set.Plan)...)
	}
	return err
}

// apart refuses a plan in which a host that runs the component does not reach a Node.
func (k Component) apart(field string, p topology.Plan) (problems labs.Problems) {
	for _, host := range p.Hosts() {
		for _, node := range p.Nodes() {
			if way := topology.Reach(p, host.Name, node.Address()); host.Runs(k.Name) && !way.Reachable() {
				return labs.Problems{{Field: field + ".name", What: fmt.Sprintf("host %s of %s does not reach Node %s: %s", host.Name, k.Name, node.Name, way.Reason),
					Hint: "attach the host to the Nodes' first network, or a router to both"}}
			}
		}
	}
	return nil
}

// fieldOf returns a field of a plan by its path in the JSON, which is that in the lab file; "" for none.
func fieldOf(p topology.Plan, path string) string {
	data, err := json.Marshal(p)
	var at any
	if err != nil || json.Unmarshal(data, &at) != nil {
		return ""
	}
	for _, name := range strings.Split(path, ".") {
		fields, _ := at.(map[string]any)
		if at = fields[name]; at == nil {
			return ""
		}
	}
	return fmt.Sprint(at)
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

// served refuses a plan in which nothing implements Services, or two components do.
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

// proxyNone is the kube-proxy mode without kube-proxy.
const proxyNone = "none"
