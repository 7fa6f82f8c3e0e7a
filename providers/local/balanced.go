package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/internal/atomicfile"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/providers"
	"netlab.dev/netlab/providers/kubeadm"
	"netlab.dev/netlab/topology"
	"netlab.dev/netlab/topology/fabric"
)

// sharedFile, in the lab's state directory, has the keys that several control planes share.
const sharedFile = "shared.json"

// shared returns its content and creates it the first time.
func shared(dir string) (map[string]kubeadm.File, error) {
	path := filepath.Join(dir, sharedFile)
	data, err := os.ReadFile(path)
	if err == nil {
		var files map[string]kubeadm.File
		if err := json.Unmarshal(data, &files); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		return files, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	files, err := kubeadm.NewShared()
	if err != nil {
		return nil, err
	}
	if data, err = json.Marshal(files); err != nil {
		return nil, err
	}
	return files, atomicfile.Write(path, data, 0o600)
}

// directly returns a client of one of several API servers, bypassing the load balancer.
func directly(running providers.Running, m topology.Machine) (kubernetes.Interface, error) {
	config, err := running.Config()
	if err != nil {
		return nil, err
	}
	plan := running.Plan
	config.Host = "https://" + netip.AddrPortFrom(m.Address(), plan.Kubernetes.API.Port()).String()
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return fabric.Dial(ctx, plan.Lab, plan.APIEndpoint().Name, network, address)
	}
	return kubernetes.NewForConfig(config)
}

// waitEach waits until each of several API servers is ready: a lab that is up tolerates the loss
// of one. A single API server was already checked by the caller.
func waitEach(ctx context.Context, running providers.Running) error {
	if !running.Plan.HighlyAvailable() {
		return nil
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, m := range running.Plan.WithRole(topology.RoleControlPlane) {
		all.Go(func() error {
			client, err := directly(running, m)
			if err == nil {
				err = kubeadm.WaitAPI(ctx, client, running.Plan)
			}
			if err != nil {
				return hint.With(fmt.Errorf("control plane %s: %w", m.Name, err), seeLogs(running.Machines[m.Name]))
			}
			return nil
		})
	}
	return all.Wait()
}

// inspectEach joins the errors of each of several API servers: behind the load balancer a healthy
// one hides the others.
func inspectEach(ctx context.Context, running providers.Running) error {
	if !running.Plan.HighlyAvailable() {
		return nil
	}
	control := running.Plan.WithRole(topology.RoleControlPlane)
	errs := make([]error, len(control))
	var all errgroup.Group
	for i, m := range control {
		if slices.Contains(running.Off, m.Name) {
			continue
		}
		all.Go(func() error {
			client, err := directly(running, m)
			if err == nil {
				_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
			}
			if err != nil {
				errs[i] = fmt.Errorf("the API server of %s is not ready: %w", m.Name, err)
			}
			return nil
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func seeLogs(m providers.Machine) string { return "see kubelet.log and pods/ in " + m.Logs() }
