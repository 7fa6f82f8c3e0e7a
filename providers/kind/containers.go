package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/command"
)

// The labels of kind's containers (sigs.k8s.io/kind, pkg/cluster/internal/providers/docker).
const (
	clusterLabel = "io.x-k8s.kind.cluster"
	roleLabel    = "io.x-k8s.kind.role"
)

// container has the fields of `docker inspect` and `podman inspect` that are used.
type container struct {
	Name   string
	State  struct{ Pid int }
	Mounts []struct{ Source, Destination string }
	Config struct{ Labels map[string]string }
}

func (c container) pid() int { return c.State.Pid }

// machine returns the name of the container's Node, by its seed in nodes/<name>/seed. It is empty
// for a container that netlab did not create.
func (c container) machine() string {
	for _, m := range c.Mounts {
		if m.Destination == seed {
			return filepath.Base(filepath.Dir(m.Source))
		}
	}
	return ""
}

// containers returns netlab's containers of a lab by the Node's name.
func (e engine) containers(ctx context.Context, lab labs.Name) (map[string]container, error) {
	all, err := e.inspect(ctx, clusterLabel+"="+lab.Label())
	own := map[string]container{}
	for _, c := range all {
		if name := c.machine(); name != "" {
			own[name] = c
		}
	}
	return own, err
}

// refuseStrangers returns an error if there is a kind cluster of the lab's name that netlab did
// not create.
func (e engine) refuseStrangers(ctx context.Context, lab labs.Name) error {
	all, err := e.inspect(ctx, clusterLabel+"="+lab.Label())
	for _, c := range all {
		if c.machine() == "" {
			return hint.With(fmt.Errorf("kind cluster %s exists and was not created by netlab: container %s", lab, c.Name),
				"give the lab another metadata.name, or remove that cluster with `kind delete cluster --name "+lab.Label()+"`")
		}
	}
	return err
}

// clusters lists the labs that have containers.
func (e engine) clusters(ctx context.Context) []labs.Name {
	all, err := e.inspect(ctx, clusterLabel)
	if err != nil {
		return nil // an engine that does not respond must not block labs of other providers
	}
	var found []labs.Name
	for _, c := range all {
		if lab, err := labs.ParseName(c.Config.Labels[clusterLabel]); err == nil && c.machine() != "" {
			found = append(found, lab)
		}
	}
	return found
}

// inspect returns the containers with a label, including stopped ones.
func (e engine) inspect(ctx context.Context, label string) ([]container, error) {
	for {
		ids, err := command.Run(e.command(ctx, "ps", "--all", "--quiet", "--filter", "label="+label))
		if err != nil || len(strings.Fields(string(ids))) == 0 {
			return nil, err
		}
		out, err := command.Run(e.command(ctx, append([]string{"container", "inspect"}, strings.Fields(string(ids))...)...))
		var failed *command.Error
		if errors.As(err, &failed) && strings.Contains(strings.ToLower(failed.Output), "no such container") {
			continue // one was removed concurrently
		}
		if err != nil {
			return nil, err
		}
		var all []container
		if err := json.Unmarshal(out, &all); err != nil {
			return nil, fmt.Errorf("parse the output of %s: %w", e, err)
		}
		for i := range all {
			all[i].Name = strings.TrimPrefix(all[i].Name, "/")
		}
		return all, nil
	}
}

// remove kills containers and removes them with their volumes.
func (e engine) remove(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return e.run(ctx, nil, append([]string{"rm", "--force", "--volumes"}, names...)...)
}

// stop shuts containers down and keeps them. The timeout is longer than that of pid1.
func (e engine) stop(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return e.run(ctx, nil, append([]string{"stop", "--time=30"}, names...)...)
}

// loadImage loads the node image into the engine, unless it has it. It uses no registry.
func (e engine) loadImage(ctx context.Context, image components.NodeImage) error {
	if e.run(ctx, nil, "image", "inspect", image.Ref) == nil {
		return nil
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(artifacts.WriteNodeImage(image, w)) }()
	defer r.Close()
	if err := e.run(ctx, r, "load", "--quiet"); err != nil {
		return fmt.Errorf("load the node image into %s: %w", e.title(), err)
	}
	return nil
}
