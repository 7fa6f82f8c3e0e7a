package components

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
)

// Need is what the kernel under the Nodes has to offer for a component, or for one of
// its modes.
type Need struct {
	Option string            `json:"option"` // as the kernel's configuration names it
	Module string            `json:"module"` // as modprobe names it; none: it is part of the kernel or not there
	When   map[string]string `json:"when"`   // option → value; none: always
	With   string            `json:"with"`   // an optional image, which alone needs it

	Of string `json:"-"` // the component
}

// Mode tells what asks for it: "kubernetes with proxy ipvs".
func (n Need) Mode() string {
	var when []string
	for _, option := range slices.Sorted(maps.Keys(n.When)) {
		when = append(when, option+" "+n.When[option])
	}
	if n.With != "" {
		when = append(when, n.With)
	}
	if len(when) == 0 {
		return n.Of
	}
	return n.Of + " with " + strings.Join(when, " and ")
}

// Error tells that the kernel lacks it.
func (n Need) Error() string {
	return fmt.Sprintf("the kernel has no %s, which %s needs", n.Option, n.Mode())
}

// Hint tells what can be done about it.
func (n Need) Hint() string {
	hint := "run a kernel with " + n.Option
	if n.Module != "" {
		hint = "modprobe " + n.Module + ", or " + hint
	}
	if n.With != "" {
		hint += "; the lab works without " + n.With
	}
	if len(n.When) > 0 {
		hint += ", or choose another " + strings.Join(slices.Sorted(maps.Keys(n.When)), " or ")
	}
	return hint
}

// Needs lists what a plan's components need of the kernel, those of optional images left
// out.
func (c Catalog) Needs(p topology.Plan) ([]Need, error) {
	set, err := c.Resolve(p)
	if err != nil {
		return nil, err
	}
	var needs []Need
	for _, k := range set {
		options := k.view(p, Artifacts{}).Options
		for _, n := range k.needs() {
			if n.With == "" && heldBy(n.When, options) {
				needs = append(needs, n)
			}
		}
	}
	return needs, nil
}

// EveryNeed lists what any mode of any component needs of the kernel.
func (c Catalog) EveryNeed() []Need {
	var needs []Need
	for _, name := range c.names() {
		needs = append(needs, c[name].needs()...)
	}
	return needs
}

func (k Component) needs() []Need {
	needs := slices.Clone(k.Needs)
	for i := range needs {
		needs[i].Of = k.Name
	}
	return needs
}

// Notices are what a user of the component is told at every `up`.
func (k Component) Notices(p topology.Plan) []string {
	var notices []string
	if k.Notice != "" {
		notices = append(notices, k.Notice)
	}
	options := k.view(p, Artifacts{}).Options
	for _, w := range k.Warns {
		if heldBy(w.When, options) {
			notices = append(notices, fmt.Sprintf("%s (%s)", w.Says, w.Source))
		}
	}
	if t := k.Tested; t != nil && !slices.Contains(t.Kubernetes, minor(p.Kubernetes.Version)) {
		notices = append(notices, fmt.Sprintf("%s %s was tested upstream with Kubernetes %s, not with %s (%s)",
			k.Name, k.Version, strings.Join(t.Kubernetes, ", "), minor(p.Kubernetes.Version), t.Source))
	}
	return notices
}

// heldBy reports whether a component's options are the ones meant.
func heldBy(when, options map[string]string) bool {
	for option, value := range when {
		if options[option] != value {
			return false
		}
	}
	return true
}

// minor cuts the last number off a version.
func minor(version string) string { return version[:max(0, strings.LastIndex(version, "."))] }

// served refuses a plan in which nobody answers for Services, or two do.
func (k Component) served(s Support, p topology.Plan) error {
	none := p.Kubernetes.Proxy == proxyNone
	switch {
	case none && !s.ReplacesProxy:
		return hinted{fmt.Errorf("with kubernetes.proxy: none nobody answers for Services: %s does not, as it is configured", k.Name),
			"name a kubernetes.proxy, or a CNI that replaces kube-proxy"}
	case !none && s.ReplacesProxy:
		return hinted{fmt.Errorf("both kube-proxy (%s) and %s would answer for Services", p.Kubernetes.Proxy, k.Name),
			"write kubernetes: {proxy: none}"}
	}
	return nil
}

// proxyNone is the kube-proxy mode in which there is none.
const proxyNone = "none"

type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }
