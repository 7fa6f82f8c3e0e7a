package libvirt

import (
	"encoding/json"
	"errors"
	"fmt"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// readSettings decodes this provider's settings in the plan.
func readSettings(plan topology.Plan) (s labs.Libvirt, err error) {
	if plan.Settings == nil {
		return s, errors.New("the plan has no libvirt settings")
	}
	if err := json.Unmarshal([]byte(plan.Settings.Data), &s); err != nil {
		return s, fmt.Errorf("the plan's libvirt settings: %w", err)
	}
	return s, nil
}

// settingsOf is readSettings for a plan that Check or Create has accepted.
func settingsOf(plan topology.Plan) labs.Libvirt {
	s, _ := readSettings(plan)
	return s
}
