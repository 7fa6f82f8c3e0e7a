package engine

import (
	"fmt"
	"strings"
	"time"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// kernelLacks returns what the kernel lacks for a lab, as errors with a hint.
func kernelLacks(provider providers.Provider, set components.Set) []error {
	return lacks(provider, set.Needs(), linkNeeds(set.Plan))
}

// lacks returns the needs that the kernel does not meet: those of Nodes where they share this machine's
// kernel, and those of links, which are on it whatever runs the Nodes.
func lacks(provider providers.Provider, nodes, links []components.Need) (lacking []error) {
	has, needs := local.KernelHas, links
	if shared, ok := provider.(providers.KernelSharer); ok {
		has, needs = shared.KernelHas, append(nodes, links...)
	}
	for _, n := range needs {
		if !has(n.Option, n.Module) {
			lacking = append(lacking, n)
		}
	}
	return lacking
}

// linkNeeds lists what the impaired links of a lab require of the kernel.
func linkNeeds(plan topology.Plan) (needs []components.Need) {
	for i, n := range plan.Networks {
		for _, need := range needsOf(n.Impair) {
			need.Field = strings.Replace(need.Of, "[]", fmt.Sprintf("[%d]", i), 1)
			needs = append(needs, need)
		}
	}
	return needs
}

// everyLinkNeed lists what any impairment of links requires of the kernel.
func everyLinkNeed() []components.Need {
	return needsOf(labs.Impairment{Delay: labs.Duration{Duration: time.Second}, Rate: 1})
}

func needsOf(i labs.Impairment) (needs []components.Need) {
	for _, k := range fabric.ImpairRequires(i) {
		of := "networks[].impair"
		if k.Field != "" {
			of += "." + k.Field
		}
		needs = append(needs, components.Need{Option: k.Option, Module: k.Module, Of: of})
	}
	return needs
}
