package netns

import (
	"context"
	"errors"
	"os"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// Check implements providers.Provider: it requires root and what every lab requires of the kernel.
func (p Provider) Check(_ context.Context, plan topology.Plan) error {
	if os.Geteuid() != 0 {
		return hint.With(errors.New("namespace Nodes require root"), "run netlab with sudo, or as root")
	}
	return local.Check(plan)
}

// KernelHas implements providers.KernelSharer.
func (Provider) KernelHas(option, module string) bool { return local.KernelHas(option, module) }

// Inspect implements providers.Inspector.
func (p Provider) Inspect(ctx context.Context, state providers.State, dir string, off []string) error {
	return local.Inspect(ctx, state, dir, off)
}

// Find implements providers.Finder: labs are found by their pinned namespaces, their
// cgroups and the label of their processes.
func (p Provider) Find() ([]labs.Name, error) {
	return append(fabric.Labs(), local.Labs()...), nil
}
