// Package kubeadm bootstraps a cluster on Nodes that run containerd and a kubelet: it
// makes the CA and every kubelet's files before the Nodes start (NodeFiles), has
// kubeadm write the control planes' static Pods (StartControlPlanes), and lets it
// upload its configuration and install its addons once the API server answers
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

// afterAPI are static Pods that can do nothing before the API server answers. They end
// after ten seconds of waiting for it, which costs an emulated machine, where each start
// takes as long, more than everything else.
const afterAPI = "control-plane/controller-manager,control-plane/scheduler"

// StartControlPlanes writes certificates, kubeconfigs and static Pods in the control plane
// Nodes, which are in the plan's order; their kubelets start them as they appear. In a
// virtual machine those that wait for the API server are left to Finish.
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
// configuration and installs CoreDNS and, unless the plan wants none, kube-proxy. The API
// server must answer.
func Finish(ctx context.Context, control []Runner, plan topology.Plan) error {
	all, ctx := errgroup.WithContext(ctx)
	for i, m := range plan.WithRole(topology.RoleControlPlane) {
		all.Go(func() error { return finish(ctx, control[i], m, plan, i == 0) })
	}
	return all.Wait()
}

// finish does Finish's part of one control plane: the first does what is the cluster's.
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
	// kubeadm keeps load balancers off a control plane; without workers nobody else
	// could announce a VIP.
	_, err := command.Run(cp.Command(ctx, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "label", "node",
		m.Name, "node.kubernetes.io/exclude-from-external-load-balancers-"))
	return err
}

func initSkipping(ctx context.Context, cp Runner, phases string) error {
	_, err := command.Run(cp.Command(ctx, "kubeadm", "init", "--config="+Config, "--skip-phases="+phases))
	return err
}

// askLimit bounds one question to an API server that starts: one that accepted it may
// end before it answers.
const askLimit = 5 * time.Second

// WaitAPI waits until the API server says that it is ready. When ctx ends first the
// error holds the API server's last answer.
//
// An emulated API server is asked less often: each question takes time that it needs to
// start.
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
			return fmt.Errorf("the API server is not ready: %w; its last answer: %v %s", ctx.Err(), err, answer)
		}
	}
}
