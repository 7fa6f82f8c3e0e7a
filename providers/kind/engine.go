package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers/command"
)

// engine is what runs containers. The commands of both take the same arguments, as far
// as this package goes.
type engine string

const (
	docker engine = "docker"
	podman engine = "podman"
)

// engines are those that kind may run on, the preferred one first.
func engines() []engine { return []engine{docker, podman} }

// engineKey is kind's own variable that says which engine to use.
const engineKey = "KIND_EXPERIMENTAL_PROVIDER"

// engineFile, in the lab's state directory, names the engine of its containers: another
// may have come since.
const engineFile = "engine"

// errNoDocker: without either command nothing of kind's can be here.
var errNoDocker = errors.New("neither docker nor podman is on the PATH")

func (e engine) installed() bool {
	_, err := exec.LookPath(string(e))
	return err == nil
}

// title is the engine's name as it is written.
func (e engine) title() string { return strings.ToUpper(string(e[:1])) + string(e[1:]) }

func (e engine) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, string(e), args...)
}

func (e engine) run(ctx context.Context, stdin io.Reader, args ...string) error {
	cmd := e.command(ctx, args...)
	cmd.Stdin = stdin
	_, err := command.Run(cmd)
	return err
}

// choose gives the engine that kind would run on: the one that KIND_EXPERIMENTAL_PROVIDER
// names, or the first that answers and can do what a lab takes. The error is what is wrong
// with each.
func choose(ctx context.Context) (engine, error) {
	if name := os.Getenv(engineKey); name != "" {
		if !slices.Contains(engines(), engine(name)) {
			return "", hint.With(fmt.Errorf("%s is %q, and netlab runs kind on docker or podman", engineKey, name), "unset "+engineKey)
		}
		return engine(name), engine(name).check(ctx)
	}
	there := installed()
	if len(there) == 0 {
		return "", hint.With(errNoDocker, "apt-get install docker.io, or set provider: netns, which needs none")
	}
	var errs error
	for _, e := range there {
		err := e.check(ctx)
		if err == nil {
			return e, nil
		}
		errs = errors.Join(errs, err)
	}
	return "", errs
}

// engineOf gives the engine that a lab's containers are on, or one for a lab without any.
func engineOf(ctx context.Context, dir string) (engine, error) {
	if e, known := recalled(dir); known {
		return e, nil
	}
	return choose(ctx)
}

// recalled gives the engine that a lab was made with, where its state directory tells.
func recalled(dir string) (engine, bool) {
	data, err := os.ReadFile(filepath.Join(dir, engineFile))
	e := engine(strings.TrimSpace(string(data)))
	return e, err == nil && slices.Contains(engines(), e)
}

// candidates are the engines on which a lab's containers may be.
func candidates(dir string) []engine {
	if e, known := recalled(dir); known {
		return []engine{e}
	}
	return installed()
}

// installed gives the engines that are on the PATH.
func installed() []engine {
	return slices.DeleteFunc(engines(), func(e engine) bool { return !e.installed() })
}

// check tells what is wrong with an engine, nil when nothing is.
func (e engine) check(ctx context.Context) error {
	if !e.installed() {
		return hint.With(fmt.Errorf("%s is not on the PATH", e), fmt.Sprintf("apt-get install %s, or set provider: netns, which needs none", map[engine]string{docker: "docker.io", podman: "podman"}[e]))
	}
	if e == podman {
		return checkPodman(ctx)
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" && !strings.HasPrefix(host, "unix://") {
		return hint.With(fmt.Errorf("Docker is on another machine (DOCKER_HOST is %s), and the lab's networks are on this one", host), "unset DOCKER_HOST")
	}
	out, err := command.Run(docker.command(ctx, "info", "--format", "{{json .}}"))
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
