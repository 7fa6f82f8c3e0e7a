package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Unplug removes the NICs of a machine and its namespace's name, as if its power failed: nothing
// that its programs send while they are killed gets out. Restore plugs them in again. It is
// idempotent.
func Unplug(ctx context.Context, lab labs.Name, m topology.Machine) error {
	return changeFabric(ctx, lab, func(s *space) error {
		errs := []error{unpin(Name(lab, m.Name))}
		for _, nic := range m.NICs {
			if port, there := s.links[nic.Port]; there {
				errs = append(errs, ignoreNotFound(s.LinkDel(port)))
			}
			errs = append(errs, s.removeIFB(ifbOf(nic.Port)))
		}
		return errors.Join(errs...)
	})
}

// SetLink sets the links of NICs up or down. It is the switch's side that changes: the machine's
// NIC keeps its addresses and loses its carrier.
func SetLink(ctx context.Context, lab labs.Name, nics []topology.NIC, up bool) error {
	return changeFabric(ctx, lab, func(s *space) error {
		var errs []error
		for _, nic := range nics {
			port, there := s.links[nic.Port]
			switch {
			case !there:
				errs = append(errs, fmt.Errorf("port %s of %s not found", nic.Port, nic.Name))
			case up:
				errs = append(errs, s.LinkSetUp(port))
			default:
				errs = append(errs, s.LinkSetDown(port))
			}
		}
		return errors.Join(errs...)
	})
}

func changeFabric(ctx context.Context, lab labs.Name, change func(*space) error) error {
	if err := lab.Check(); err != nil {
		return err
	}
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return Enter(lab, "", func() error { return withSpace(change) })
}

// LinksDown returns the NICs whose link is down, by machine. Of a machine without ports, because it
// is off or on another fabric, it returns none.
func LinksDown(plan topology.Plan) (down map[string][]string, err error) {
	down = map[string][]string{}
	err = Enter(plan.Lab, "", func() error {
		return withSpace(func(s *space) error {
			for _, m := range plan.Machines {
				for _, nic := range m.NICs {
					if port, there := s.links[nic.Port]; there && port.Attrs().Flags&net.FlagUp == 0 {
						down[m.Name] = append(down[m.Name], nic.Name)
					}
				}
			}
			return nil
		})
	})
	return down, err
}

// Restore is Create for some of the plan's machines: the NICs of the others are not changed.
func Restore(ctx context.Context, plan topology.Plan, names []string) error {
	w := &work{plan: plan, skip: func(m topology.Machine) bool { return !slices.Contains(names, m.Name) }}
	return w.create(ctx)
}
