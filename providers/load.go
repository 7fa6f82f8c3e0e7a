package providers

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology"
)

// LoadImage imports an image archive (OCI layout or docker save) into the containerd of
// every Node in parallel.
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
			cmd := importInto(ctx, running.Machines[m.Name])
			cmd.Stdin = f
			if _, err := command.Run(cmd); err != nil {
				return fmt.Errorf("load %s into %s: %w", archive, m.Name, err)
			}
			return nil
		})
	}
	return nodes.Wait()
}

func importInto(ctx context.Context, m Machine) *exec.Cmd {
	return m.Command(ctx, "ctr", "--namespace=k8s.io", "images", "import", "--local", "-")
}

// containerdLimit bounds the wait for the containerd of a Node that was just started.
const containerdLimit = 30 * time.Second

// loadMissing loads missing images into Nodes that were created from earlier artifacts: a newer
// netlab ships its own agent and sometimes newer components.
func loadMissing(ctx context.Context, running Running, of components.Artifacts, step components.Step) error {
	nodes, ctx := errgroup.WithContext(ctx)
	for _, m := range running.Plan.Nodes() {
		nodes.Go(func() error { return loadMissingInto(ctx, m.Name, running.Machines[m.Name], of, step) })
	}
	return nodes.Wait()
}

func loadMissingInto(ctx context.Context, name string, node Machine, of components.Artifacts, step components.Step) (err error) {
	images, err := listed(ctx, node, "images")
	if err != nil {
		return fmt.Errorf("list the images of Node %s: %w", name, err)
	}
	missing := slices.DeleteFunc(slices.Clone(of.Images), func(ref string) bool { return slices.Contains(images, ref) })
	if len(missing) == 0 {
		return nil
	}
	done := step("load into " + name + ": " + strings.Join(missing, ", "))
	defer func() { done(err) }()
	blobs, err := listed(ctx, node, "content")
	if err != nil {
		return fmt.Errorf("list the image content of Node %s: %w", name, err)
	}
	r, w := io.Pipe()
	defer r.Close() // stops the writer if ctr exits early
	go func() {
		w.CloseWithError(artifacts.WriteImages(of, w, missing, func(hex string) bool { return slices.Contains(blobs, "sha256:"+hex) }))
	}()
	cmd := importInto(ctx, node)
	cmd.Stdin = r
	if _, err := command.Run(cmd); err != nil {
		return fmt.Errorf("load images into Node %s: %w", name, err)
	}
	return nil
}

// listed lists a Node's "images" or "content" in containerd, once containerd responds.
func listed(ctx context.Context, node Machine, kind string) ([]string, error) {
	limited, cancel := context.WithTimeout(ctx, containerdLimit)
	defer cancel()
	for {
		out, err := command.Run(node.Command(ctx, "ctr", "--namespace=k8s.io", kind, "ls", "--quiet"))
		if err == nil || !sleep(limited, apiRetry) {
			return strings.Fields(string(out)), err
		}
	}
}
