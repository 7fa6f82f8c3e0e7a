package cli

import (
	"fmt"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/topology"
)

// ownAgents reports whether the agents of a lab are this netlab's: what they are asked and
// what they answer belongs to one build.
func (a *app) ownAgents(state providers.State) (bool, error) {
	cache, err := a.software()
	if err != nil {
		return false, err
	}
	agent, err := cache.Agent(a.catalog)
	return agent == state.Artifacts.Agent, err
}

// verifiable refuses to ask a lab that is not up, or whose agents are another netlab's.
func (a *app) verifiable(state providers.State) error {
	if state.Phase != providers.PhaseUp {
		return state.NotUp()
	}
	own, err := a.ownAgents(state)
	if err != nil || own {
		return err
	}
	return hint.With(fmt.Errorf("the agents of lab %s are another netlab's, and may not understand this one", state.Plan.Lab),
		fmt.Sprintf("`netlab up %s` puts this one's in their place", state.File))
}

// changesTo is what `up` would change of a lab that is there.
func (a *app) changesTo(state providers.State, plan topology.Plan) (topology.Changes, error) {
	changes := topology.Compare(state.Plan, plan)
	if len(changes.Remake) > 0 || state.Artifacts.Agent == "" {
		return changes, nil
	}
	own, err := a.ownAgents(state)
	if err == nil && !own {
		changes.Apply = append(changes.Apply, "verification agents, which are another netlab's")
	}
	return changes, err
}
