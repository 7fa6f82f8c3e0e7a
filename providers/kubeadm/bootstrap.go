// Package kubeadm bootstraps a cluster on Nodes that run containerd and a kubelet: it
// creates the CA and every kubelet's files before the Nodes start (NodeFiles), has
// kubeadm write the control planes' static Pods (StartControlPlanes), and has it
// upload its configuration and install its addons once the API server is available
// (Finish). It never uses `kubeadm join`: every kubelet starts at once and registers
// when it can, and so do the members of etcd where there are several control planes.
package kubeadm

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/providers/command"
	"netlab.dev/netlab/topology"
)

// Runner runs programs in a Node.
type Runner interface {
	Command(ctx context.Context, argv ...string) *exec.Cmd
}

// afterAPI are static Pods that require the API server. They exit if it is not available within
// ten seconds; on an emulated machine, where a start takes as long, these restarts are the
// largest cost.
const afterAPI = "control-plane/controller-manager,control-plane/scheduler"

// StartControlPlanes writes certificates, kubeconfigs and static Pods in the control plane
// Nodes, in the plan's order; their kubelets start them as they appear. On
// emulated machines those that require the API server are left to Finish.
func StartControlPlanes(ctx context.Context, control []Runner, plan topology.Plan) error {
	skip := "preflight,kubelet-start,wait-control-plane,upload-config,upload-certs," +
		"mark-control-plane,bootstrap-token,kubelet-finalize,addon,show-join-command"
	if plan.Capabilities.Emulated {
		skip += "," + afterAPI
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, cp := range control {
		all.Go(func() error { return initSkipping(ctx, cp, skip) })
	}
	return all.Wait()
}

// Finish labels the control planes, given as to StartControlPlanes, uploads kubeadm's
// configuration and installs CoreDNS and, unless the plan has proxy: none, kube-proxy. The API
// server must be available.
func Finish(ctx context.Context, control []Runner, plan topology.Plan) error {
	all, ctx := errgroup.WithContext(ctx)
	for i, m := range plan.WithRole(topology.RoleControlPlane) {
		all.Go(func() error { return finish(ctx, control[i], m, plan, i == 0) })
	}
	return all.Wait()
}

// finish is Finish for one control plane; the first one also does the cluster-wide work.
func finish(ctx context.Context, cp Runner, m topology.Machine, plan topology.Plan, first bool) error {
	skip := "preflight,certs,kubeconfig,etcd,kubelet-start,wait-control-plane,upload-certs,kubelet-finalize,show-join-command"
	if !first {
		skip += ",upload-config,bootstrap-token,addon"
	}
	if plan.Capabilities.Emulated {
		skip += ",control-plane/apiserver"
	} else {
		skip += ",control-plane"
	}
	if first && plan.Kubernetes.Proxy == "none" {
		skip += ",addon/kube-proxy"
	}
	if err := initSkipping(ctx, cp, skip); err != nil || len(plan.WithRole(topology.RoleWorker)) > 0 {
		return err
	}
	// kubeadm excludes control planes from external load balancers; without workers no
	// other Node could announce a VIP.
	_, err := command.Run(cp.Command(ctx, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "label", "node",
		m.Name, "node.kubernetes.io/exclude-from-external-load-balancers-"))
	return err
}

func initSkipping(ctx context.Context, cp Runner, phases string) error {
	_, err := command.Run(cp.Command(ctx, "kubeadm", "init", "--config="+Config, "--skip-phases="+phases))
	return err
}

// askLimit bounds one request to a starting API server, which may exit before it responds.
const askLimit = 5 * time.Second

// WaitAPI waits until the API server reports ready. When ctx is done first, the error includes
// its last response.
//
// An emulated API server is polled less often: each request takes CPU time from its start.
func WaitAPI(ctx context.Context, client kubernetes.Interface, plan topology.Plan) error {
	pause := 50 * time.Millisecond
	if plan.Capabilities.Emulated {
		pause = 2 * time.Second
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		answer, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(askLimit).DoRaw(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the API server is not ready: %w; last response: %v %s", ctx.Err(), err, answer)
		}
	}
}
