package providers

import (
	"context"
	"fmt"
	"time"

	"netlab.dev/netlab/labs"
)

// Inspector is a Provider that can report in detail how a lab differs from its plan.
type Inspector interface {
	// Inspect joins one error for each difference and returns nil if there is none.
	Inspect(ctx context.Context, state State, dir string) error
}

// KernelSharer is a Provider whose Nodes run on this machine's kernel.
type KernelSharer interface {
	// KernelHas reports whether the kernel has a feature, by the name of its option and,
	// if it can be loaded, of its module. If it cannot be determined, the feature counts as present.
	KernelHas(option, module string) bool
}

// Meter is a Provider that can report its Nodes' use of this machine.
type Meter interface {
	// Memory returns the memory of a Node's processes in bytes, without page cache; false if
	// it is not accounted.
	Memory(lab labs.Name, node string) (int64, bool)
}

// Finder is a Provider that can find its labs without their state.
type Finder interface {
	// Find lists the labs that have anything on this machine.
	Find() ([]labs.Name, error)
}

// healthLimit bounds one check of a lab.
const healthLimit = 5 * time.Second

// Healthy returns nil if a lab that should be running is healthy: every machine, link and
// process is present, and the API server reports ready. Otherwise it returns the reason.
func Healthy(ctx context.Context, p Provider, state State, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	if state.Phase != PhaseUp {
		return state.NotUp()
	}
	running, err := p.Attach(ctx, state.Plan, dir)
	if err != nil {
		return err
	}
	if i, ok := p.(Inspector); ok {
		if err := i.Inspect(ctx, state, dir); err != nil {
			return err
		}
	}
	client, err := running.Client()
	if err != nil {
		return err
	}
	if answer, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return fmt.Errorf("the API server is not ready: %w %s", err, answer)
	}
	return nil
}
