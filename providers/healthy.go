package providers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/applied"
)

// Inspector is a Provider that can report in detail how a lab differs from its plan.
type Inspector interface {
	// Inspect joins one error for each difference and returns nil if there is none. Of machines
	// that are off, whose names it takes, nothing else is reported.
	Inspect(ctx context.Context, state State, dir string, off []string) error
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

// healthLimit bounds one check of a lab; emulated machines are slow.
const (
	healthLimit         = 5 * time.Second
	emulatedHealthLimit = time.Minute
)

// Healthy returns nil if a lab that should be running is healthy: every machine, link and
// process is present, the API server reports ready, every Node is registered and ready, and every
// component is as it was applied. Otherwise it joins one error for each difference.
func Healthy(ctx context.Context, p Provider, state State, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, state.Plan.Limit(healthLimit, emulatedHealthLimit))
	defer cancel()
	if state.Phase != PhaseUp {
		return state.NotUp()
	}
	running, errs := p.Attach(ctx, state.Plan, dir)
	if len(running.Machines) == 0 && errs != nil {
		return errs
	}
	if i, ok := p.(Inspector); ok {
		errs = errors.Join(errs, i.Inspect(ctx, state, dir, running.Off))
	}
	client, err := running.Client()
	if err != nil {
		return errors.Join(errs, err)
	}
	if answer, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return errors.Join(errs, fmt.Errorf("the API server is not ready: %w %s", err, answer))
	}
	record, err := applied.Read(dir)
	if err != nil {
		return errors.Join(errs, err)
	}
	problems, err := clusterProblems(ctx, running, record)
	return errors.Join(append([]error{errs, err}, problems...)...)
}
