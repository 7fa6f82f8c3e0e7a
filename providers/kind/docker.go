package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	kindexec "sigs.k8s.io/kind/pkg/exec"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
)

// The labels of kind's containers (sigs.k8s.io/kind, pkg/cluster/internal/providers/docker).
const (
	clusterLabel = "io.x-k8s.kind.cluster"
	roleLabel    = "io.x-k8s.kind.role"
)

// errNoDocker: without the docker command nothing of kind's can be here.
var errNoDocker = errors.New("docker is not on the PATH")

// container is what of `docker inspect` matters.
type container struct {
	Name   string
	State  struct{ Pid int }
	Mounts []struct{ Source, Destination string }
	Config struct{ Labels map[string]string }
}

func (c container) pid() int { return c.State.Pid }

// machine names the Node that the container is: its seed lies in nodes/<name>/seed.
// It is empty for a container that netlab did not make.
func (c container) machine() string {
	for _, m := range c.Mounts {
		if m.Destination == seed {
			return filepath.Base(filepath.Dir(m.Source))
		}
	}
	return ""
}

// containers gives netlab's own containers of a lab, by the Node's name.
func containers(ctx context.Context, lab string) (map[string]container, error) {
	all, err := inspect(ctx, clusterLabel+"="+lab)
	own := map[string]container{}
	for _, c := range all {
		if name := c.machine(); name != "" {
			own[name] = c
		}
	}
	return own, err
}

// refuseStrangers reports a kind cluster of the lab's name that is not netlab's.
func refuseStrangers(ctx context.Context, lab string) error {
	all, err := inspect(ctx, clusterLabel+"="+lab)
	for _, c := range all {
		if c.machine() == "" {
			return providers.WithHint(fmt.Errorf("there is a kind cluster %s that netlab did not make: container %s", lab, c.Name),
				"give the lab another metadata.name, or remove that cluster with `kind delete cluster --name "+lab+"`")
		}
	}
	return err
}

// clusters names the labs that have containers.
func clusters(ctx context.Context) ([]string, error) {
	all, err := inspect(ctx, clusterLabel)
	if err != nil {
		return nil, nil // a Docker that does not answer is no obstacle to the labs of others
	}
	var labs []string
	for _, c := range all {
		if c.machine() != "" {
			labs = append(labs, c.Config.Labels[clusterLabel])
		}
	}
	slices.Sort(labs)
	return slices.Compact(labs), nil
}

// inspect gives the containers with a label, those that do not run too.
func inspect(ctx context.Context, label string) ([]container, error) {
	if _, err := exec.LookPath("docker"); err != nil {
		return nil, errNoDocker
	}
	for {
		ids, err := command.Run(exec.CommandContext(ctx, "docker", "ps", "--all", "--quiet", "--filter", "label="+label))
		if err != nil || len(strings.Fields(string(ids))) == 0 {
			return nil, err
		}
		out, err := command.Run(exec.CommandContext(ctx, "docker", append([]string{"container", "inspect"}, strings.Fields(string(ids))...)...))
		var failed *command.Error
		if errors.As(err, &failed) && strings.Contains(failed.Output, "No such container") {
			continue // another removed one meanwhile
		}
		if err != nil {
			return nil, err
		}
		var all []container
		if err := json.Unmarshal(out, &all); err != nil {
			return nil, fmt.Errorf("read docker's answer: %w", err)
		}
		for i := range all {
			all[i].Name = strings.TrimPrefix(all[i].Name, "/")
		}
		return all, nil
	}
}

func docker(ctx context.Context, stdin io.Reader, args ...string) error {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = stdin
	_, err := command.Run(cmd)
	return err
}

// remove ends containers and removes them with their volumes.
func remove(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return docker(ctx, nil, append([]string{"rm", "--force", "--volumes"}, names...)...)
}

// loadImage gives Docker the node image, unless it has it. No registry is asked.
func loadImage(ctx context.Context, image components.NodeImage) error {
	if docker(ctx, nil, "image", "inspect", image.Ref) == nil {
		return nil
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(image.WriteArchive(w)) }()
	defer r.Close()
	if err := docker(ctx, r, "load", "--quiet"); err != nil {
		return fmt.Errorf("load the node image into Docker: %w", err)
	}
	return nil
}

// withOutput adds to an error of kind what the failed program printed, which its text
// leaves out.
func withOutput(err error) error {
	if failed := kindexec.RunErrorForError(err); failed != nil {
		return fmt.Errorf("%w\n%s", err, failed.Output)
	}
	return err
}
