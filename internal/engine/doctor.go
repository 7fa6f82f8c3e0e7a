package engine

import (
	"context"
	"slices"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
)

// Unmet is one thing that this machine does not have, as `doctor` shows it.
type Unmet struct {
	What string   `json:"what"`
	Mend []string `json:"mend,omitempty"`
	Mode string   `json:"mode,omitempty"` // the mode that requires it, if the lab does not
}

// Doctor returns what this machine lacks for a lab, then what it lacks for other modes.
func (e Engine) Doctor(ctx context.Context, set components.Set) ([]Unmet, error) {
	provider, err := e.provider(set.Plan.Provider)
	if err != nil {
		return nil, err
	}
	found := []Unmet{}
	for _, missing := range hint.Split(e.missing(ctx, e.Software, provider, set, "")) {
		found = append(found, Unmet{What: missing.Error(), Mend: hint.Of(missing)})
	}
	for _, missing := range e.Software.MissingToBuild(set) {
		u := Unmet{What: missing.Error(), Mend: hint.Of(missing), Mode: "builds of what no registry has"}
		if !slices.ContainsFunc(found, func(other Unmet) bool { return other.What == u.What }) {
			found = append(found, u)
		}
	}
	for _, lacking := range lacks(provider, e.Catalog.EveryNeed(), everyLinkNeed()) {
		u := Unmet{What: lacking.Error(), Mend: hint.Of(lacking), Mode: lacking.(components.Need).Mode()}
		if !slices.ContainsFunc(found, func(other Unmet) bool { return other.What == u.What }) {
			found = append(found, u)
		}
	}
	return found, nil
}

// Outlook is where the software of a new lab would come from. Nobody is asked.
func (e Engine) Outlook(set components.Set) (artifacts.Outlook, error) {
	return e.Software.Outlook(set)
}

// Components lists the software of labs, and which of it is cached.
func (e Engine) Components() ([]artifacts.Status, error) { return e.Software.Status(e.Catalog) }
