package artifacts

import (
	"context"

	"netlab.dev/netlab/components"
)

// hosts returns the services of each outside host of the set's plan, by its name, with their
// layers unpacked.
func (o obtaining) hosts(ctx context.Context) (map[string][]components.HostService, error) {
	all := map[string][]components.HostService{}
	for _, m := range o.set.Plan.Hosts() {
		services, err := o.set.HostServices(m)
		if err != nil {
			return nil, err
		}
		for i, s := range services {
			if s.Layer == "" {
				continue
			}
			if services[i].Layer, err = o.unpacked(ctx, s.Layer); err != nil {
				return nil, err
			}
		}
		all[m.Name] = services
	}
	return all, nil
}
