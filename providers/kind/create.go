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
	"strconv"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster"
	kindexec "sigs.k8s.io/kind/pkg/exec"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/providers/local"
)

// HelperVerb is netlab's hidden verb that runs CreateMain.
const HelperVerb = "kind-create"

// networkKey is the variable for the Docker network that kind uses. With "none" a container has an
// empty network namespace: no second eth0, no route out of the lab.
const networkKey = "KIND_EXPERIMENTAL_DOCKER_NETWORK"

// create has kind run the containers of a new cluster without starting Kubernetes. kind's library
// does not support contexts, so it runs in a separate process that is killed with ctx.
func create(ctx context.Context, req providers.Request, nodes []node, caches []artifacts.NodeCache) error {
	config := v1alpha4.Cluster{Name: req.Plan.Lab.Label()}
	config.Networking.DisableDefaultCNI = true
	for _, n := range nodes {
		config.Nodes = append(config.Nodes, v1alpha4.Node{Role: role(n.machine), Image: req.Artifacts.Node.Ref, ExtraMounts: n.mounts(caches)})
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, req.Artifacts.Self, HelperVerb)
	cmd.Stdin = strings.NewReader(string(text))
	cmd.Env = append(os.Environ(), networkKey+"=none", local.LabelKey+"="+req.Plan.Lab.Label())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its docker commands are killed with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := local.Enrol(req.Plan.Lab, cmd); err != nil {
		return err
	}
	_, err = command.Run(cmd)
	var failed *command.Error
	switch {
	case ctx.Err() != nil:
		docker.arrive(ctx, req.Plan.Lab, len(nodes))
		return ctx.Err()
	case errors.As(err, &failed):
		return fmt.Errorf("kind: %s", failed.Output)
	}
	return err
}

// arrival bounds the wait for containers that Docker still creates after its client was killed.
const arrival = time.Second

// arrive waits until Docker has created the containers that a killed client requested, at most
// count, so that `down` finds them.
func (e engine) arrive(ctx context.Context, lab labs.Name, count int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), arrival)
	defer cancel()
	for ctx.Err() == nil {
		if there, err := e.containers(ctx, lab); err == nil && len(there) == count {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// CreateMain is the helper process of create: it reads kind's configuration as JSON and creates
// the cluster's containers on Docker. It returns an exit status.
func CreateMain(stdin io.Reader, stderr io.Writer) int {
	var config v1alpha4.Cluster
	err := json.NewDecoder(stdin).Decode(&config)
	if err == nil {
		err = cluster.NewProvider(cluster.ProviderWithDocker()).Create(config.Name,
			cluster.CreateWithV1Alpha4Config(&config), cluster.CreateWithStopBeforeSettingUpKubernetes(true))
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, err)
	if failed := kindexec.RunErrorForError(err); failed != nil {
		fmt.Fprintf(stderr, "%s\n", failed.Output) // kind's message does not include it
	}
	return 1
}

// endHelpers kills the helper of a killed `up` and its commands.
func endHelpers(ctx context.Context, lab labs.Name) error {
	list := func() []int {
		return slices.DeleteFunc(local.Processes(lab), func(pid int) bool {
			args, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
			fields := local.SplitZero(args)
			return len(fields) < 2 || fields[1] != HelperVerb && filepath.Base(fields[0]) != string(docker)
		})
	}
	if len(list()) == 0 {
		return nil
	}
	err := local.KillAll(ctx, list)
	select {
	case <-time.After(arrival):
	case <-ctx.Done():
	}
	return err
}
