package engine

import (
	"context"
	"fmt"
	"slices"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// ImpairedLink is what became of the quality of one link.
type ImpairedLink struct {
	Machine string          `json:"machine"`
	NIC     string          `json:"nic"`
	Impair  labs.Impairment `json:"impair"`  // how it is impaired now; none: it is not
	Changed bool            `json:"changed"` // false: it was so before
}

// Impair makes links of a running lab as impaired as said, in both directions: of a NIC named
// MACHINE:NIC, or of all NICs of a MACHINE.
func (e Engine) Impair(ctx context.Context, lab labs.Name, ends []string, i labs.Impairment) (done []ImpairedLink, err error) {
	err = e.switching(ctx, lab, func(state providers.State, s providers.Switcher, off []string) error {
		provider, able := s.(providers.Impairer)
		if !able {
			return fmt.Errorf("provider %s does not support impairing links", state.Plan.Provider)
		}
		links, err := linksNamed(state.Plan, ends)
		if err != nil {
			return err
		}
		is, err := provider.Impaired(ctx, state.Plan)
		if err != nil {
			return err
		}
		for _, l := range links {
			if slices.Contains(off, l.machine.Name) {
				return hint.With(providers.Off(l.machine), fmt.Sprintf("`netlab power on %s %s` starts it", lab, l.machine.Name))
			}
			differs := is[l.machine.Name][l.nic.Name] != i
			if err := provider.Impair(ctx, state.Plan, l.machine, l.nic, i); err != nil {
				return fmt.Errorf("impair the link of %s %s: %w", l.machine.Name, l.nic.Name, err)
			}
			done = append(done, ImpairedLink{l.machine.Name, l.nic.Name, i, differs})
		}
		return nil
	})
	return done, err
}

// impaired is how the links of a lab are impaired, as far as its provider knows of such.
func impaired(ctx context.Context, provider providers.Provider, state providers.State) (topology.Impaired, error) {
	if p, able := provider.(providers.Impairer); able {
		return p.Impaired(ctx, state.Plan)
	}
	return nil, nil
}
