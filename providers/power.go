package providers

import (
	"context"
	"fmt"
	"os"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Switcher is a Provider that can switch single machines of a running lab off and on, and pull
// their cables. Nothing of it is recorded: Create undoes all of it.
type Switcher interface {
	// PowerOff switches machines off as a power failure does: nothing shuts down, their NICs are
	// silent at once, their disks stay. It is idempotent.
	PowerOff(ctx context.Context, plan topology.Plan, dir string, machines []topology.Machine) error
	// PowerOn starts machines that are off, with all their NICs plugged in, and leaves the others
	// alone. It returns when containerd or the host's services are ready to start and, if a
	// control plane was started, the API server answers; it does not wait for Nodes to be Ready.
	PowerOn(ctx context.Context, req Request, machines []topology.Machine) error
	// SetLink sets the link of a machine's NIC up or down, at the switch: the machine sees its
	// carrier come or go and keeps its addresses. The machine is on. It is idempotent.
	SetLink(ctx context.Context, plan topology.Plan, m topology.Machine, nic topology.NIC, up bool) error
	// LinksDown returns the names of the NICs whose link is down, by machine.
	LinksDown(ctx context.Context, plan topology.Plan) (map[string][]string, error)
}

// Impairer is a Provider that can make links worse. As of a Switcher nothing of it is recorded: Create
// makes each link what the plan says.
type Impairer interface {
	// Impair makes a machine's link as impaired as said, in both directions, at the switch. The machine
	// is on. It is idempotent; if it fails, the link stays as it was.
	Impair(ctx context.Context, plan topology.Plan, m topology.Machine, nic topology.NIC, i labs.Impairment) error
	// Impaired returns how links are impaired.
	Impaired(ctx context.Context, plan topology.Plan) (topology.Impaired, error)
}

// PowerOn starts machines of a lab from its state.
func PowerOn(ctx context.Context, root Root, s Switcher, state State, machines []topology.Machine, step components.Step) error {
	if err := state.stocked(); err != nil {
		return err
	}
	return s.PowerOn(ctx, Request{Plan: state.Plan, Artifacts: state.Artifacts, Dir: root.Dir(state.Plan.Lab), APIPort: state.APIPort, Step: step}, machines)
}

// stocked reports artifacts of a lab that the cache has dropped.
func (s State) stocked() error {
	_, err := os.Stat(s.Artifacts.Self)
	if err != nil {
		return hint.With(fmt.Errorf("artifacts of lab %s not found in the cache: %w", s.Plan.Lab, err),
			fmt.Sprintf("`netlab up %s` starts it with the current artifacts", s.File))
	}
	return nil
}
