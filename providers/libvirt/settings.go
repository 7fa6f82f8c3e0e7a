package libvirt

import (
	"encoding/json"
	"errors"
	"fmt"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// readSettings decodes the plan's settings, which are this provider's.
func readSettings(plan topology.Plan) (s labs.Libvirt, err error) {
	if plan.Settings == nil {
		return s, errors.New("the plan has no settings of libvirt")
	}
	if err := json.Unmarshal([]byte(plan.Settings.Data), &s); err != nil {
		return s, fmt.Errorf("the plan's settings of libvirt: %w", err)
	}
	return s, nil
}

// settingsOf is readSettings of a plan that Check or Create has accepted.
func settingsOf(plan topology.Plan) labs.Libvirt {
	s, _ := readSettings(plan)
	return s
}
