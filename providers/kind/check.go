package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// Check implements providers.Provider: root, a Docker or Podman that answers and can do
// what kind asks of it, and what every lab takes from the kernel.
func (p Provider) Check(ctx context.Context, plan topology.Plan) error {
	if os.Geteuid() != 0 {
		return hint.With(errors.New("the lab's networks take root, and this is not root"), "run netlab with sudo, or as root")
	}
	_, err := choose(ctx)
	return errors.Join(err, local.Check(plan))
}

// info is what of `docker info` matters.
type info struct {
	ServerVersion   string
	SecurityOptions []string
	ServerErrors    []string
}

// podmanInfo is what of `podman info` matters.
type podmanInfo struct {
	Host struct {
		Security        struct{ Rootless bool }
		ServiceIsRemote bool
	}
	Version struct{ Version string }
}

func checkPodman(ctx context.Context) error {
	out, err := command.Run(podman.command(ctx, "info", "--format", "json"))
	if err != nil {
		return fmt.Errorf("Podman does not answer: %w", err)
	}
	var said podmanInfo
	if err := json.Unmarshal(out, &said); err != nil {
		return fmt.Errorf("read what `podman info` says: %w", err)
	}
	return judgePodman(said)
}

// judgePodman: Podman 3.0 is the first that kind itself takes.
func judgePodman(said podmanInfo) error {
	major := 0
	fmt.Sscanf(said.Version.Version, "%d", &major)
	switch {
	case said.Host.ServiceIsRemote:
		return hint.With(errors.New("Podman is on another machine, and the lab's networks are on this one"), "unset CONTAINER_HOST")
	case said.Host.Security.Rootless:
		return hint.With(errors.New("Podman is rootless: its containers' networks are closed to the lab's"), "run netlab with sudo, or as root")
	case major < 3:
		return hint.With(fmt.Errorf("Podman %s is too old: kind needs 3.0", said.Version.Version), "install a newer Podman, or set provider: netns, which needs none")
	}
	return nil
}

// judge tells what is wrong with a Docker, nil when nothing is. Docker 20.10 is the
// first that knows --cgroupns.
func judge(said info, err error) error {
	text := strings.Join(said.ServerErrors, "\n")
	var major, minor int
	fmt.Sscanf(said.ServerVersion, "%d.%d", &major, &minor)
	switch {
	case strings.Contains(text, "permission denied"):
		return hint.With(fmt.Errorf("Docker does not let us in: %s", text), "run netlab with sudo, or as root")
	case strings.Contains(text, "Cannot connect") || strings.Contains(text, "failed to connect"):
		return hint.With(fmt.Errorf("Docker does not run: %s", text), "start it with `systemctl start docker`, or set provider: netns, which needs none")
	case err != nil || text != "":
		return errors.Join(err, errors.New("docker info: "+text))
	case said.ServerVersion == "":
		return hint.With(errors.New("the docker command here is no Docker's"), "remove podman-docker, or set "+engineKey+"=podman")
	case major < 20 || major == 20 && minor < 10:
		return hint.With(fmt.Errorf("Docker %s is too old: kind needs 20.10", said.ServerVersion), "install a newer Docker, or set provider: netns, which needs none")
	case slices.ContainsFunc(said.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=rootless") }):
		return hint.With(errors.New("Docker is rootless: its containers' networks are closed to the lab's"), "use the system's Docker (DOCKER_HOST, DOCKER_CONTEXT), or set provider: netns")
	}
	return nil
}

// KernelHas implements providers.KernelSharer: containers run on this machine's kernel.
func (Provider) KernelHas(option, module string) bool { return local.KernelHas(option, module) }
