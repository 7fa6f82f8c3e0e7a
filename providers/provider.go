// Package providers makes a topology.Plan real: segments, then nodes, then the
// cluster, then its components. It takes a Plan and components.Artifacts and gives a
// Running lab: machines to run commands in, a kubeconfig, outside hosts. The
// folders below it are the ways to run a node; what they share (bootstrap, install,
// state) is here and in providers/kubeadm.
package providers

import (
	"context"
	"fmt"
	"net"
	"os/exec"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Request is what a provider is asked to make.
type Request struct {
	Plan      topology.Plan
	Artifacts components.Artifacts
	Dir       string // the lab's state directory; exists
	// APIPort is the loopback port that reached the API server before, 0 for any.
	APIPort int
	Step    components.Step
}

// Provider runs machines. All of its verbs may be called again after any failure.
type Provider interface {
	// Check reports what this machine lacks for the plan, as errors with a Hint, and makes nothing.
	Check(ctx context.Context, plan topology.Plan) error
	// Create makes the segments and starts every machine of the plan that does not run yet
	// and removes machines that are not in the plan. Nodes come up with containerd running.
	Create(ctx context.Context, req Request) (Running, error)
	// Attach finds the machines of a lab that Create made.
	Attach(ctx context.Context, plan topology.Plan, dir string) (Running, error)
	// Delete removes everything of the lab: by its state directory, or without it by label.
	// It never stops early; the errors of all steps are joined. Deleting what is not there is no error.
	Delete(ctx context.Context, lab labs.Name, dir string) error
}

// Running is a lab that runs.
type Running struct {
	Plan       topology.Plan
	Kubeconfig string             // path; its server is a loopback port of this machine
	APIPort    int                // that port, where Create gave the Running
	Machines   map[string]Machine // by name: Nodes and outside hosts
	// Finish does what of Create can be done beside the installation of components; nil
	// for nothing. Until it has ended well the next Create does it again.
	Finish func(context.Context) error
}

// Client gives a client of the lab's API server. Its limits are off: one laptop's lab
// has no other tenant to be fair to.
func (r Running) Client() (kubernetes.Interface, error) {
	config, err := r.Config()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// Config gives the client configuration of the lab's API server.
func (r Running) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", r.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the lab's kubeconfig: %w", err)
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	return config, nil
}

// Machine is a Node or an outside host, from netlab's side.
type Machine interface {
	// Command prepares a program to run inside the machine: its namespaces, and for a Node
	// its file system. The caller sets the streams.
	Command(ctx context.Context, argv ...string) *exec.Cmd
	// Dial connects to a unix socket by its path in the machine's file system, without
	// touching the lab's networks.
	Dial(ctx context.Context, path string) (net.Conn, error)
	// Logs is the directory of the machine's logs on this machine.
	Logs() string
}

// LogFetcher is a Machine some of whose logs lie where this machine does not see them.
type LogFetcher interface {
	// FetchLogs copies them into Machine.Logs, in the place of earlier copies.
	FetchLogs(ctx context.Context) error
}
