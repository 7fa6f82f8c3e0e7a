package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// Power is what Power does to machines.
type Power string

// The uses of a machine's power switch.
const (
	PowerOff   Power = "off"
	PowerOn    Power = "on"
	PowerCycle Power = "cycle" // off, unless it is, and on
)

// Switched is what became of one machine or one of its links.
type Switched struct {
	Machine string `json:"machine"`
	NIC     string `json:"nic,omitempty"`
	State   string `json:"state"`   // on or off of a machine, up or down of a link
	Changed bool   `json:"changed"` // false: it was so before
}

// Power switches machines of a running lab off or on. Those that are as asked for are left alone.
func (e Engine) Power(ctx context.Context, lab labs.Name, names []string, to Power, p Progress) (done []Switched, err error) {
	err = e.switching(ctx, lab, func(state providers.State, s providers.Switcher, off []string) error {
		machines, err := machinesNamed(state.Plan, names)
		if err != nil {
			return err
		}
		isOff := func(m topology.Machine) bool { return slices.Contains(off, m.Name) }
		toStop := slices.DeleteFunc(slices.Clone(machines), isOff)
		toStart := slices.DeleteFunc(slices.Clone(machines), func(m topology.Machine) bool { return !isOff(m) })
		if to == PowerCycle {
			toStart = machines
		}
		if to != PowerOn && len(toStop) > 0 {
			if err := s.PowerOff(ctx, state.Plan, e.Root.Dir(lab), toStop); err != nil {
				return err
			}
		}
		if to != PowerOff && len(toStart) > 0 {
			finish := p.Step("start " + strings.Join(namesOf(toStart), ", "))
			err := providers.PowerOn(ctx, e.Root, s, state, toStart, p.Step)
			if finish(err); err != nil {
				return stopped(ctx, err, fmt.Sprintf("`netlab up %s` repairs the lab", state.File))
			}
		}
		for _, m := range machines {
			now := "on"
			if to == PowerOff {
				now = "off"
			}
			done = append(done, Switched{Machine: m.Name, State: now, Changed: to == PowerCycle || isOff(m) == (to == PowerOn)})
		}
		return nil
	})
	return done, err
}

// Link sets links of a running lab up or down: of a NIC named MACHINE:NIC, or of all NICs of a
// MACHINE.
func (e Engine) Link(ctx context.Context, lab labs.Name, ends []string, up bool) (done []Switched, err error) {
	now := "down"
	if up {
		now = "up"
	}
	err = e.switching(ctx, lab, func(state providers.State, s providers.Switcher, off []string) error {
		links, err := linksNamed(state.Plan, ends)
		if err != nil {
			return err
		}
		down, err := s.LinksDown(ctx, state.Plan)
		if err != nil {
			return err
		}
		for _, l := range links {
			if slices.Contains(off, l.machine.Name) {
				return hint.With(providers.Off(l.machine), fmt.Sprintf("`netlab power on %s %s` starts it", lab, l.machine.Name))
			}
			differs := slices.Contains(down[l.machine.Name], l.nic.Name) == up
			if differs {
				if err := s.SetLink(ctx, state.Plan, l.machine, l.nic, up); err != nil {
					return fmt.Errorf("set the link of %s %s %s: %w", l.machine.Name, l.nic.Name, now, err)
				}
			}
			done = append(done, Switched{l.machine.Name, l.nic.Name, now, differs})
		}
		return nil
	})
	return done, err
}

// switching calls act for a lab that is up, with the lab locked and the machines that are off.
func (e Engine) switching(ctx context.Context, lab labs.Name, act func(state providers.State, s providers.Switcher, off []string) error) error {
	return e.change(lab, func(state providers.State, p providers.Provider) error {
		s, able := p.(providers.Switcher)
		switch {
		case !able:
			return fmt.Errorf("provider %s does not support switching single machines", state.Plan.Provider)
		case state.Phase != providers.PhaseUp:
			return state.NotUp()
		}
		running, err := p.Attach(ctx, state.Plan, e.Root.Dir(lab))
		if err != nil && !providers.OnlyOff(err) {
			return err
		}
		return act(state, s, running.Off)
	})
}

// machinesNamed finds machines of a plan, each once.
func machinesNamed(plan topology.Plan, names []string) (machines []topology.Machine, err error) {
	for i, name := range names {
		m, known := plan.Machine(name)
		if !known {
			return nil, noMachine(plan, name)
		}
		if !slices.Contains(names[:i], name) {
			machines = append(machines, m)
		}
	}
	return machines, nil
}

type end struct {
	machine topology.Machine
	nic     topology.NIC
}

// linksNamed finds NICs of a plan, each once.
func linksNamed(plan topology.Plan, texts []string) (ends []end, err error) {
	for _, text := range texts {
		name, wanted, one := strings.Cut(text, ":")
		m, known := plan.Machine(name)
		if !known {
			return nil, noMachine(plan, name)
		}
		found := false
		var nics []string
		for _, nic := range m.NICs {
			nics = append(nics, nic.Name)
			if one && nic.Name != wanted {
				continue
			}
			found = true
			if !slices.ContainsFunc(ends, func(e end) bool { return e.machine.Name == m.Name && e.nic.Name == nic.Name }) {
				ends = append(ends, end{m, nic})
			}
		}
		if !found {
			return nil, hint.With(fmt.Errorf("machine %s has no NIC %q", name, wanted), "its NICs are "+strings.Join(nics, ", "))
		}
	}
	return ends, nil
}

func noMachine(plan topology.Plan, name string) error {
	return hint.With(fmt.Errorf("lab %s has no machine %q", plan.Lab, name), "its machines are "+strings.Join(namesOf(plan.Machines), ", "))
}

func namesOf(machines []topology.Machine) (names []string) {
	for _, m := range machines {
		names = append(names, m.Name)
	}
	return names
}
