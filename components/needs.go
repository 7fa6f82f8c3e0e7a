package components

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"netlab.dev/netlab/topology"
)

// Need is a kernel feature that a component, or one of its modes, requires.
type Need struct {
	Option string            `json:"option"` // as the kernel's configuration names it
	Module string            `json:"module"` // as modprobe names it; none: it is part of the kernel or not there
	When   map[string]string `json:"when"`   // option → value; none: always
	With   string            `json:"with"`   // an optional image, which alone needs it

	Of    string `json:"-"` // the component
	Field string `json:"-"` // of the lab file that asks for it; "": every lab does
}

// Mode names what requires it: "kubernetes with proxy ipvs".
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

// Error reports that the kernel lacks it.
func (n Need) Error() string {
	return fmt.Sprintf("the kernel has no %s, which %s needs", n.Option, n.Mode())
}

// Hint says how to provide it, or do without it.
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

// EveryNeed lists what any mode of any component requires of the kernel.
func (c Catalog) EveryNeed() []Need {
	var needs []Need
	for _, k := range c.all() {
		needs = append(needs, k.needs()...)
	}
	return needs
}

// NeedsOf lists what a component requires of the kernel for an optional image, and for "" what
// it requires without any.
func (k Component) NeedsOf(optional string) []Need {
	return slices.DeleteFunc(k.needs(), func(n Need) bool { return n.With != optional })
}

func (k Component) needs() []Need {
	needs := slices.Clone(k.Needs)
	for i := range needs {
		needs[i].Of, needs[i].Field = k.Name, k.field(needs[i])
	}
	return needs
}

// field is the field of a lab file that causes a need.
func (k Component) field(n Need) string {
	switch _, proxy := n.When[optionProxy]; {
	case proxy:
		return "kubernetes.proxy"
	case len(n.When) == 1 && k.Kind == KindCNI:
		for option := range n.When {
			return "cni.options." + option
		}
	case k.Kind == KindCNI || k.Kind == KindLoadBalancer || k.Kind == KindIngress:
		return k.Kind + ".name" // the fields are called as the kinds
	}
	return ""
}

func (k Component) notices(p topology.Plan) []string {
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

// heldBy reports whether a component's options meet a condition.
func heldBy(when, options map[string]string) bool {
	for option, value := range when {
		if options[option] != value {
			return false
		}
	}
	return true
}

// minor returns a version without its patch number.
func minor(version string) string { return version[:max(0, strings.LastIndex(version, "."))] }
