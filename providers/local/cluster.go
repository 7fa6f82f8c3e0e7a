// Package local is shared by the providers: a Node's files, the networks and outside hosts on
// this machine, the loopback port of the API server, the bootstrap of the control plane, and
// finding and stopping everything of a lab. Starting Nodes is left to each provider.
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// Segments creates the networks and starts the outside hosts on them.
func Segments(ctx context.Context, req providers.Request) (err error) {
	done := req.Step("networks and outside hosts")
	defer func() { done(err) }()
	if !req.Plan.Capabilities.OwnKernel { // else Nodes have their own kernels
		if err := kernelBridgeFilter().provide(ctx); err != nil {
			return err
		}
		if err := machineSysctls().begin(ctx, req.Plan.Lab); err != nil {
			return fmt.Errorf("record the machine's sysctls: %w", err)
		}
	}
	if err := limitLab(req.Plan.Lab, req.Plan.Limits); err != nil {
		return err
	}
	if err := fabric.Create(ctx, req.Plan); err != nil {
		return err
	}
	if err := fabric.HostAccess(ctx, req.Plan, req.Plan.HostAccess); err != nil {
		return err
	}
	return startHosts(ctx, req)
}

// Endpoint returns the loopback port that forwards to the API server: the previous one, if it is
// still served or free. For a new port it writes the lab's kubeconfig, whose cluster, user and
// context have the given name.
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
		return port, nil // the user's copies of the kubeconfig stay valid
	}
	kubeconfig, err := kubeadm.AdminKubeconfig(name, ca, fmt.Sprintf("https://127.0.0.1:%d", port))
	if err != nil {
		return 0, err
	}
	return port, atomicfile.Write(file, kubeconfig, 0o600)
}

// ControlPlane bootstraps the control planes, unless the file bootstrapped exists, and waits for
// their API server; their Nodes must be running. It leaves the remaining work to running.Finish.
// The Nodes in again were restarted: the status of their Pods in the cluster is out of date.
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
	limit := req.Plan.Limit(apiLimit, emulatedAPILimit)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := kubeadm.WaitAPI(limited, client, req.Plan); err != nil {
		return hint.With(err, seeLogs(running.Machines[req.Plan.WithRole(topology.RoleControlPlane)[0].Name]))
	}
	running.Bootstrap = providers.Bootstrap{Again: func(ctx context.Context) (err error) {
		done := req.Step("DNS and Service proxy")
		defer func() { done(err) }()
		return kubeadm.Finish(ctx, control, req.Plan)
	}}
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
		return atomicfile.Write(bootstrapped, nil, 0o644)
	}
	return nil
}

// Inspect returns an error that joins all differences of a lab's networks, outside hosts and
// forwarder from the plan. Machines that are off have no networks to differ.
func Inspect(ctx context.Context, state providers.State, dir string, off []string) error {
	missing, err := fabric.Diff(state.Plan, off...)
	if err != nil {
		return err
	}
	var errs error
	if Frozen(state.Plan.Lab) {
		errs = hint.With(errors.New("every process of the lab is frozen: `netlab snapshot save` was killed"), fmt.Sprintf("`netlab up %s` lets it continue", state.File))
	}
	for _, m := range missing {
		errs = errors.Join(errs, fmt.Errorf("the networks differ from the plan: %s", m))
	}
	errs = errors.Join(errs, inspectHosts(ctx, state, dir))
	if !Forwarding(state.Plan.Lab, state.APIPort) {
		errs = errors.Join(errs, fmt.Errorf("nothing forwards 127.0.0.1:%d to the API server", state.APIPort))
	}
	errs = errors.Join(errs, inspectEach(ctx, providers.Running{Plan: state.Plan, Kubeconfig: filepath.Join(dir, "kubeconfig"), Off: off}))
	return errs
}

// Limits of the steps of Stop: one that hangs must leave time for the others.
const (
	killLimit   = 15 * time.Second
	unlinkLimit = 20 * time.Second
	cgroupLimit = 10 * time.Second
)

// Stop kills every process of a lab and removes its networks and cgroups, even if one of these
// fails. Its files stay.
func Stop(ctx context.Context, lab labs.Name) error {
	if err := lab.Check(); err != nil {
		return err
	}
	var errs error
	for _, step := range []struct {
		limit time.Duration
		do    func(context.Context) error
	}{
		{killLimit, func(ctx context.Context) error {
			thaw(lab, "")
			return KillAll(ctx, func() []int { return Processes(lab) })
		}},
		{unlinkLimit, func(ctx context.Context) error { return fabric.Delete(ctx, lab) }},
		{cgroupLimit, func(ctx context.Context) error { return RemoveCgroups(ctx, lab, "") }},
		{sysctlLimit, func(ctx context.Context) error {
			if len(Processes(lab)) > 0 { // they may write more
				return nil
			}
			return machineSysctls().end(ctx, lab)
		}},
	} {
		limited, cancel := context.WithTimeout(ctx, step.limit)
		errs = errors.Join(errs, step.do(limited))
		cancel()
	}
	return errs
}

// MakeDirs makes the directories in a lab's state directory that every provider needs.
func MakeDirs(req providers.Request) error {
	if err := providers.Root(filepath.Dir(req.Dir)).Claim(req.Plan.Lab); err != nil {
		return err
	}
	for _, d := range []string{"nodes", "logs"} {
		if err := os.MkdirAll(filepath.Join(req.Dir, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Authority returns the lab's CA and the keys that several control planes share, and creates
// both the first time.
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
	switch missing1, missing2 := errors.Is(err1, fs.ErrNotExist), errors.Is(err2, fs.ErrNotExist); {
	case err1 == nil && err2 == nil:
		ca, err := kubeadm.LoadAuthority(cert, key)
		if err != nil {
			err = hint.With(fmt.Errorf("the lab's certificate authority, %s and %s, is damaged: %w", certPath, keyPath, err), "restore both files from a backup, or remove the lab with `netlab down`")
		}
		return ca, err
	case !missing1 || !missing2:
		// Nodes have certificates of the authority that was here: a new one would lock them out.
		return nil, hint.With(fmt.Errorf("one of %s and %s is missing: %w", certPath, keyPath, errors.Join(err1, err2)), "restore it from a backup, or remove the lab with `netlab down`")
	}
	ca, err := kubeadm.NewAuthority()
	if err != nil {
		return nil, err
	}
	return ca, errors.Join(atomicfile.Write(certPath, ca.Cert, 0o644), atomicfile.Write(keyPath, ca.Key, 0o600))
}
