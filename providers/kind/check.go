package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/local"
	"netlab.dev/netlab/topology"
)

// Check implements providers.Provider: root, a Docker that answers and can do what
// kind asks of it, and what every lab takes from the kernel.
func (p Provider) Check(ctx context.Context, plan topology.Plan) error {
	if os.Geteuid() != 0 {
		return providers.WithHint(errors.New("the lab's networks take root, and this is not root"), "run netlab with sudo, or as root")
	}
	return errors.Join(checkDocker(ctx), local.Check(plan))
}

// info is what of `docker info` matters.
type info struct {
	ServerVersion   string
	SecurityOptions []string
	ServerErrors    []string
}

func checkDocker(ctx context.Context) error {
	if _, err := exec.LookPath("docker"); err != nil {
		return providers.WithHint(errNoDocker, "apt-get install docker.io, or set provider: netns, which needs none")
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" && !strings.HasPrefix(host, "unix://") {
		return providers.WithHint(fmt.Errorf("Docker is on another machine (DOCKER_HOST is %s), and the lab's networks are on this one", host), "unset DOCKER_HOST")
	}
	out, err := command.Run(exec.CommandContext(ctx, "docker", "info", "--format", "{{json .}}"))
	var said info
	if jsonErr := json.Unmarshal(out, &said); err == nil && jsonErr != nil {
		return fmt.Errorf("read what `docker info` says: %w", jsonErr)
	}
	var failed *command.Error
	if errors.As(err, &failed) {
		said.ServerErrors = append(said.ServerErrors, failed.Output)
	}
	return judge(said, err)
}

// judge tells what is wrong with a Docker, nil when nothing is. Docker 20.10 is the
// first that knows --cgroupns.
func judge(said info, err error) error {
	text := strings.Join(said.ServerErrors, "\n")
	var major, minor int
	fmt.Sscanf(said.ServerVersion, "%d.%d", &major, &minor)
	switch {
	case strings.Contains(text, "permission denied"):
		return providers.WithHint(fmt.Errorf("Docker does not let us in: %s", text), "run netlab with sudo, or as root")
	case strings.Contains(text, "Cannot connect") || strings.Contains(text, "failed to connect"):
		return providers.WithHint(fmt.Errorf("Docker does not run: %s", text), "start it with `systemctl start docker`, or set provider: netns, which needs none")
	case err != nil || text != "":
		return errors.Join(err, errors.New("docker info: "+text))
	case major < 20 || major == 20 && minor < 10:
		return providers.WithHint(fmt.Errorf("Docker %s is too old: kind needs 20.10", said.ServerVersion), "install a newer Docker, or set provider: netns, which needs none")
	case slices.ContainsFunc(said.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=rootless") }):
		return providers.WithHint(errors.New("Docker is rootless: its containers' networks are closed to the lab's"), "use the system's Docker (DOCKER_HOST, DOCKER_CONTEXT), or set provider: netns")
	}
	return nil
}

// KernelHas implements providers.KernelSharer: containers run on this machine's kernel.
func (Provider) KernelHas(option, module string) bool { return local.KernelHas(option, module) }
