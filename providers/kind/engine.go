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

// engine is a container engine. The commands of both accept the same arguments, as far as this
// package uses them.
type engine string

const (
	docker engine = "docker"
	podman engine = "podman"
)

// engines lists the supported engines, the preferred one first.
func engines() []engine { return []engine{docker, podman} }

// engineKey is kind's variable that selects the engine.
const engineKey = "KIND_EXPERIMENTAL_PROVIDER"

// engineFile, in the lab's state directory, has the engine of its containers: another one may have
// been installed since.
const engineFile = "engine"

// errNoDocker is the error without either command, and so without labs of this provider.
var errNoDocker = errors.New("neither docker nor podman is on the PATH")

func (e engine) installed() bool {
	_, err := exec.LookPath(string(e))
	return err == nil
}

// title is the engine's name for messages.
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

// choose returns the engine that kind would use: the one in KIND_EXPERIMENTAL_PROVIDER, or the
// first that is running and supports labs. The error has what is wrong with each.
func choose(ctx context.Context) (engine, error) {
	if name := os.Getenv(engineKey); name != "" {
		if !slices.Contains(engines(), engine(name)) {
			return "", hint.With(fmt.Errorf("%s is %q: netlab supports docker and podman", engineKey, name), "unset "+engineKey)
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

// engineOf returns the engine of a lab's containers, or one for a lab without containers.
func engineOf(ctx context.Context, dir string) (engine, error) {
	if e, known := recalled(dir); known {
		return e, nil
	}
	return choose(ctx)
}

// recalled returns the engine that a lab was created with, if its state directory has it.
func recalled(dir string) (engine, bool) {
	data, err := os.ReadFile(filepath.Join(dir, engineFile))
	e := engine(strings.TrimSpace(string(data)))
	return e, err == nil && slices.Contains(engines(), e)
}

// candidates lists the engines that may have a lab's containers.
func candidates(dir string) []engine {
	if e, known := recalled(dir); known {
		return []engine{e}
	}
	return installed()
}

// installed lists the engines that are on the PATH.
func installed() []engine {
	return slices.DeleteFunc(engines(), func(e engine) bool { return !e.installed() })
}

// check returns what is wrong with an engine, nil if nothing is.
func (e engine) check(ctx context.Context) error {
	if !e.installed() {
		return hint.With(fmt.Errorf("%s is not on the PATH", e), fmt.Sprintf("apt-get install %s, or set provider: netns, which needs none", map[engine]string{docker: "docker.io", podman: "podman"}[e]))
	}
	if e == podman {
		return checkPodman(ctx)
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" && !strings.HasPrefix(host, "unix://") {
		return hint.With(fmt.Errorf("Docker is on another machine (DOCKER_HOST is %s): lab networks require a local engine", host), "unset DOCKER_HOST")
	}
	out, err := command.Run(docker.command(ctx, "info", "--format", "{{json .}}"))
	var said info
	if jsonErr := json.Unmarshal(out, &said); err == nil && jsonErr != nil {
		return fmt.Errorf("parse the output of `docker info`: %w", jsonErr)
	}
	var failed *command.Error
	if errors.As(err, &failed) {
		said.ServerErrors = append(said.ServerErrors, failed.Output)
	}
	return judge(said, err)
}
