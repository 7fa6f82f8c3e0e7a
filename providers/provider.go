// Package providers creates a lab from a topology.Plan: networks, then Nodes, then the cluster,
// then its components. It takes a Plan and components.Artifacts and returns a Running lab:
// machines to run commands in, a kubeconfig, outside hosts. The packages below it are the ways
// to run a Node; what they share (bootstrap, installation, state) is here and in
// providers/kubeadm.
package providers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/topology"
)

// Request is the lab that a provider is to create.
type Request struct {
	Plan      topology.Plan
	Artifacts components.Artifacts
	Dir       string // the lab's state directory; exists
	// APIPort is the previous loopback port of the API server, 0 for any.
	APIPort int
	Step    components.Step

	// Users is the user's own objects, applied when all components are ready. Hashes are theirs, by
	// name: objects whose hash differs later are applied again.
	Users  components.Rendered
	Hashes map[string]string
}

// Provider runs machines. All of its methods can be called again after any failure.
type Provider interface {
	// Check returns the unmet requirements of the plan, as errors with a Hint, and creates nothing.
	Check(ctx context.Context, plan topology.Plan) error
	// Create creates the networks, starts every machine of the plan that is not running and
	// removes machines that are not in the plan. Nodes come up with containerd running.
	Create(ctx context.Context, req Request) (Running, error)
	// Attach finds the machines of a lab that Create has created. With an error for which
	// OnlyOff holds, the Running has all machines that are on.
	Attach(ctx context.Context, plan topology.Plan, dir string) (Running, error)
	// Delete removes everything of the lab but its state directory: by the records in it, or
	// without them by name. It never stops early; the errors of all steps are joined. A missing
	// lab is not an error.
	Delete(ctx context.Context, lab labs.Name, dir string) error
}

// Configurable is a Provider with settings: a section of the lab file, under the provider's name,
// that only it decodes. In a Plan they are opaque.
type Configurable interface {
	Section() labs.Section
}

// Running is a running lab.
type Running struct {
	Plan       topology.Plan
	Kubeconfig string             // path; its server is a loopback port of this machine
	APIPort    int                // that port, if Create returned the Running
	Machines   map[string]Machine // by name: Nodes that are on, and outside hosts
	Off        []string           // names of machines that are off
	// LinksDown are the NICs whose link is down, by machine, where the engine asked (Switcher).
	LinksDown map[string][]string
	// Impaired is how links are impaired, where the engine asked (Impairer).
	Impaired topology.Impaired
	// Finish is the part of Create that can run in parallel with the installation of
	// components; nil if there is none. Until it has succeeded, the next Create repeats it.
	Finish func(context.Context) error
	// Bootstrap is what Create installed besides components.
	Bootstrap Bootstrap
}

// Client returns a client of the lab's API server, without rate limits: a lab has no other
// tenants.
func (r Running) Client() (kubernetes.Interface, error) {
	config, err := r.Config()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// Config returns the client configuration of the lab's API server.
func (r Running) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", r.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the lab's kubeconfig: %w", err)
	}
	config.QPS = -1
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // that of the user's shell is not in the lab
	config.WarningHandler = rest.NoWarnings{}
	return config, nil
}

// Machine is a Node or an outside host, as netlab accesses it.
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

// LogFetcher is a Machine with logs that are not on this machine.
type LogFetcher interface {
	// FetchLogs copies them into Machine.Logs and replaces earlier copies.
	FetchLogs(ctx context.Context) error
}
