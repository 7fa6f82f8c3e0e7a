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

// Check implements providers.Provider: it requires root, a Docker or Podman that is running and
// supports kind, and what every lab requires of the kernel.
func (p Provider) Check(ctx context.Context, plan topology.Plan) error {
	if os.Geteuid() != 0 {
		return hint.With(errors.New("the lab's networks require root"), "run netlab with sudo, or as root")
	}
	_, err := choose(ctx)
	return errors.Join(err, local.Check(plan))
}

// info has the fields of `docker info` that are used.
type info struct {
	ServerVersion   string
	SecurityOptions []string
	ServerErrors    []string
}

// podmanInfo has the fields of `podman info` that are used.
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
		return fmt.Errorf("Podman is not responding: %w", err)
	}
	var said podmanInfo
	if err := json.Unmarshal(out, &said); err != nil {
		return fmt.Errorf("parse the output of `podman info`: %w", err)
	}
	return judgePodman(said)
}

// judgePodman returns what is wrong with a Podman. Podman 3.0 is the first that kind supports.
func judgePodman(said podmanInfo) error {
	major := 0
	fmt.Sscanf(said.Version.Version, "%d", &major)
	switch {
	case said.Host.ServiceIsRemote:
		return hint.With(errors.New("Podman is on another machine: lab networks require a local engine"), "unset CONTAINER_HOST")
	case said.Host.Security.Rootless:
		return hint.With(errors.New("Podman is rootless: the lab cannot access its containers' networks"), "run netlab with sudo, or as root")
	case major < 3:
		return hint.With(fmt.Errorf("Podman %s is too old: kind requires 3.0", said.Version.Version), "install a newer Podman, or set provider: netns, which needs none")
	}
	return nil
}

// judge returns what is wrong with a Docker, nil if nothing is. Docker 20.10 is the first that has
// --cgroupns.
func judge(said info, err error) error {
	text := strings.Join(said.ServerErrors, "\n")
	var major, minor int
	fmt.Sscanf(said.ServerVersion, "%d.%d", &major, &minor)
	switch {
	case strings.Contains(text, "permission denied"):
		return hint.With(fmt.Errorf("no permission to use Docker: %s", text), "run netlab with sudo, or as root")
	case strings.Contains(text, "Cannot connect") || strings.Contains(text, "failed to connect"):
		return hint.With(fmt.Errorf("Docker is not running: %s", text), "start it with `systemctl start docker`, or set provider: netns, which needs none")
	case err != nil || text != "":
		return errors.Join(err, errors.New("docker info: "+text))
	case said.ServerVersion == "":
		return hint.With(errors.New("the docker command on the PATH is not Docker's"), "remove podman-docker, or set "+engineKey+"=podman")
	case major < 20 || major == 20 && minor < 10:
		return hint.With(fmt.Errorf("Docker %s is too old: kind requires 20.10", said.ServerVersion), "install a newer Docker, or set provider: netns, which needs none")
	case slices.ContainsFunc(said.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=rootless") }):
		return hint.With(errors.New("Docker is rootless: the lab cannot access its containers' networks"), "use the system's Docker (DOCKER_HOST, DOCKER_CONTEXT), or set provider: netns")
	}
	return nil
}

// KernelHas implements providers.KernelSharer: containers run on this machine's kernel.
func (Provider) KernelHas(option, module string) bool { return local.KernelHas(option, module) }
