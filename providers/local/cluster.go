// Package local is what the providers share whose Nodes are namespaces of this
// machine's kernel, whoever starts them: a Node's files, the networks and outside
// hosts, the loopback port of the API server, the bootstrap of the control plane, and
// how everything of a lab is found and ended. Starting Nodes is the providers' own.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// apiLimit bounds the wait for the API server; a laptop under load takes a tenth of it.
// Emulated machines are ten times slower.
const (
	apiLimit         = 2 * time.Minute
	emulatedAPILimit = 10 * time.Minute
)

// Segments makes the networks and starts the outside hosts on them.
func Segments(ctx context.Context, req providers.Request) (err error) {
	done := req.Step("networks and outside hosts")
	defer func() { done(err) }()
	if !req.Plan.Capabilities.OwnKernel { // else Nodes have kernels of their own
		if err := kernelBridgeFilter().provide(ctx); err != nil {
			return err
		}
	}
	if err := fabric.Create(ctx, req.Plan); err != nil {
		return err
	}
	if err := fabric.HostAccess(ctx, req.Plan, req.Plan.HostAccess); err != nil {
		return err
	}
	return startHosts(ctx, req)
}

// Endpoint gives the loopback port that reaches the API server: the one that was
// there before, where it is still served or free. With a new one it writes the lab's
// kubeconfig, whose cluster, user and context have the name given.
func Endpoint(req providers.Request, name string, ca *kubeadm.Authority) (int, error) {
	port := req.APIPort
	if port != 0 && Forwarding(req.Plan.Lab, port) {
		return port, nil
	}
	was := port
	port, err := StartForward(req.Plan, req.Dir, req.Artifacts.Self, port)
	if err != nil {
		return 0, err
	}
	file := filepath.Join(req.Dir, "kubeconfig")
	if port == was && exists(file) {
		return port, nil // copies that the user made of it stay good too
	}
	kubeconfig, err := kubeadm.AdminKubeconfig(name, ca, fmt.Sprintf("https://127.0.0.1:%d", port))
	if err != nil {
		return 0, err
	}
	return port, atomicfile.Write(file, kubeconfig, 0o600)
}

// ControlPlane waits for the API server of the control planes, whose Nodes run, and
// bootstraps them first unless the file bootstrapped says that this was done. What then is
// left to do is running's Finish. The Nodes named in again have run before: what the cluster knows of
// their Pods is out of date.
func ControlPlane(ctx context.Context, req providers.Request, running *providers.Running, bootstrapped string, again []string) (err error) {
	done := req.Step("control plane")
	defer func() { done(err) }()
	var control []kubeadm.Runner
	for _, m := range req.Plan.WithRole(topology.RoleControlPlane) {
		control = append(control, running.Machines[m.Name])
	}
	_, missing := os.Stat(bootstrapped)
	if missing != nil {
		if err := kubeadm.StartControlPlanes(ctx, control, req.Plan); err != nil {
			return err
		}
	}
	client, err := running.Client()
	if err != nil {
		return err
	}
	limit := apiLimit
	if req.Plan.Capabilities.Emulated {
		limit = emulatedAPILimit
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := kubeadm.WaitAPI(limited, client, req.Plan); err != nil {
		return hint.With(err, seeLogs(running.Machines[req.Plan.WithRole(topology.RoleControlPlane)[0].Name]))
	}
	if missing == nil {
		if err := waitEach(limited, *running); err != nil {
			return err
		}
		return rebooted(ctx, client, again)
	}
	running.Finish = func(ctx context.Context) (err error) {
		done := req.Step("DNS and Service proxy")
		defer func() { done(err) }()
		if err := kubeadm.Finish(ctx, control, req.Plan); err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if err := waitEach(limited, *running); err != nil {
			return err
		}
		return os.WriteFile(bootstrapped, nil, 0o644)
	}
	return nil
}

// Inspect gives an error that joins what of a lab's networks, outside hosts and
// forwarder is not as planned.
func Inspect(ctx context.Context, state providers.State, dir string) error {
	missing, err := fabric.Diff(state.Plan)
	if err != nil {
		return err
	}
	var errs error
	for _, m := range missing {
		errs = errors.Join(errs, fmt.Errorf("the networks are not as planned: %s", m))
	}
	errs = errors.Join(errs, inspectHosts(ctx, state, dir))
	if !Forwarding(state.Plan.Lab, state.APIPort) {
		errs = errors.Join(errs, fmt.Errorf("nothing forwards 127.0.0.1:%d to the API server", state.APIPort))
	}
	errs = errors.Join(errs, inspectEach(ctx, providers.Running{Plan: state.Plan, Kubeconfig: filepath.Join(dir, "kubeconfig")}))
	if errs != nil {
		errs = hint.With(errs, "`netlab up "+state.File+"` mends it")
	}
	return errs
}

// Stop ends every labelled process of a lab and removes its networks and cgroups, trying
// each. Its files stay.
func Stop(ctx context.Context, lab labs.Name) error {
	if err := lab.Check(); err != nil {
		return err
	}
	errs := KillAll(ctx, func() []int { return Processes(lab) })
	errs = errors.Join(errs, fabric.Delete(ctx, lab))
	return errors.Join(errs, RemoveCgroups(ctx, lab, ""))
}

// Delete is Stop, and removes the state directory too, which bears the lab's name.
func Delete(ctx context.Context, lab labs.Name, dir string) error {
	if err := lab.Check(); err != nil {
		return err
	}
	if filepath.Base(dir) != lab.Label() {
		return fmt.Errorf("%q is not the state directory of lab %s", dir, lab)
	}
	errs := Stop(ctx, lab)
	if err := os.RemoveAll(dir); err != nil {
		errs = errors.Join(errs, fmt.Errorf("remove the lab's state: %w", err))
	}
	return errs
}

// Authority gives the lab's CA, and what several control planes share, making both once.
func Authority(req providers.Request) (*kubeadm.Authority, error) {
	ca, err := authority(req.Dir)
	if err == nil && req.Plan.HighlyAvailable() {
		ca.Shared, err = shared(req.Dir)
	}
	return ca, err
}

func authority(dir string) (*kubeadm.Authority, error) {
	certPath, keyPath := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	cert, err1 := os.ReadFile(certPath)
	key, err2 := os.ReadFile(keyPath)
	if err1 == nil && err2 == nil {
		return kubeadm.LoadAuthority(cert, key)
	}
	ca, err := kubeadm.NewAuthority()
	if err != nil {
		return nil, err
	}
	return ca, errors.Join(atomicfile.Write(certPath, ca.Cert, 0o644), atomicfile.Write(keyPath, ca.Key, 0o600))
}
