package providers

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology"
)

// LoadImage imports an image archive (OCI layout or docker save) into the containerd of
// every Node, all at once.
func LoadImage(ctx context.Context, running Running, archive string, step components.Step) error {
	if _, err := os.Stat(archive); err != nil {
		return err
	}
	nodes, ctx := errgroup.WithContext(ctx)
	for _, m := range running.Plan.Machines {
		if m.Kind != topology.KindNode {
			continue
		}
		nodes.Go(func() (err error) {
			done := step("load into " + m.Name)
			defer func() { done(err) }()
			f, err := os.Open(archive)
			if err != nil {
				return err
			}
			defer f.Close()
			cmd := running.Machines[m.Name].Command(ctx, "ctr", "--namespace=k8s.io", "images", "import", "-")
			cmd.Stdin = f
			if _, err := command.Run(cmd); err != nil {
				return fmt.Errorf("load %s into %s: %w", archive, m.Name, err)
			}
			return nil
		})
	}
	return nodes.Wait()
}
