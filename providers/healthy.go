package providers

import (
	"context"
	"fmt"
	"time"

	"netlab.dev/netlab/labs"
)

// Inspector is a Provider that can tell in detail what of a lab is not as planned.
type Inspector interface {
	// Inspect gives an error that joins one error a difference, nil when all is there.
	Inspect(ctx context.Context, state State, dir string) error
}

// KernelSharer is a Provider whose Nodes run on this machine's kernel.
type KernelSharer interface {
	// KernelHas reports whether the kernel offers a feature: by the name of its option and,
	// where it may be loaded, of its module. What cannot be told counts as there.
	KernelHas(option, module string) bool
}

// Meter is a Provider that can tell what its Nodes take of this machine.
type Meter interface {
	// Memory gives what the processes of a Node hold, page cache left out, in bytes; false
	// where it is not counted.
	Memory(lab labs.Name, node string) (int64, bool)
}

// Finder is a Provider that finds its labs without their state.
type Finder interface {
	// Find names the labs that left anything on this machine.
	Find() ([]labs.Name, error)
}

// healthLimit bounds one look at a lab.
const healthLimit = 5 * time.Second

// Healthy reports why a lab that should run does not, nil when it does: every machine,
// link and process is there, and the API server says that it is ready.
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
