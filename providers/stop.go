package providers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/kube"
	"netlab.dev/netlab/labs"
)

// Stopper is a Provider that can keep a lab without running it.
type Stopper interface {
	// Stop ends every process of the lab, those of each Node in order, and takes its links,
	// mounts and cgroups away. The Nodes' disks stay: Create starts them again. Stopping
	// what does not run is no error.
	Stop(ctx context.Context, lab labs.Name, dir string) error
}

const (
	// stopLimit bounds Stop: each Node ends within half of it, and all at once.
	stopLimit = time.Minute
	// settleLimit bounds the wait for a started lab's Pods, on a laptop under load; that of
	// emulated machines is longer.
	settleLimit         = 4 * time.Minute
	emulatedSettleLimit = 20 * time.Minute
)

// Stop ends a lab that has been made and keeps it. The state says so before the first
// process ends; a Stop that was cut off is gone on with by another, or by Start.
func Stop(ctx context.Context, root Root, p Provider, lab labs.Name) error {
	state, err := root.Read(lab)
	if err != nil {
		return err
	}
	stopper, able := p.(Stopper)
	switch {
	case !able:
		return hint.With(fmt.Errorf("provider %s cannot stop a lab and keep it", state.Plan.Provider), fmt.Sprintf("`netlab down %s` removes it", lab))
	case !state.Made():
		return state.NotUp()
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	state.Phase = PhaseStopping
	if err := root.Write(state); err != nil {
		return err
	}
	if err := stopper.Stop(ctx, lab, root.Dir(lab)); err != nil {
		return err
	}
	state.Phase = PhaseStopped
	return root.Write(state)
}

// Start makes a lab run again as it ran before, by its state alone: its machines, and then
// it waits until every Node is heard of and the Pods of the cluster's own are ready.
func Start(ctx context.Context, root Root, p Provider, lab labs.Name, step components.Step) (Running, error) {
	state, err := root.Read(lab)
	if err != nil {
		return Running{}, err
	}
	if !state.Made() {
		return Running{}, state.NotUp()
	}
	if _, err := os.Stat(state.Artifacts.Self); err != nil {
		return Running{}, hint.With(fmt.Errorf("the cache no longer holds what lab %s was made with: %w", lab, err),
			fmt.Sprintf("`netlab up %s` starts it with what there is now", state.File))
	}
	began := time.Now()
	state.Phase = PhaseStarting
	running, err := machines(ctx, root, p, &state, Request{Plan: state.Plan, Artifacts: state.Artifacts, Step: step})
	if err != nil {
		return running, err
	}
	if running.Finish != nil {
		if err := running.Finish(ctx); err != nil {
			return running, err
		}
	}
	if err := settle(ctx, running, began, step); err != nil {
		return running, err
	}
	state.Phase = PhaseUp
	return running, root.Write(state)
}

// settle waits until the kubelet of every Node has been heard of since a moment, and what
// netlab installed is ready.
func settle(ctx context.Context, running Running, since time.Time, step components.Step) (err error) {
	done := step("Nodes and Pods")
	defer func() { done(err) }()
	client, err := running.Client()
	if err != nil {
		return err
	}
	limit := settleLimit
	if running.Plan.Capabilities.Emulated {
		limit = emulatedSettleLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		waits, err := unsettled(ctx, client, running, since)
		if err == nil && len(waits) == 0 {
			return nil
		}
		if !sleep(ctx, 2*apiRetry) {
			return errors.Join(fmt.Errorf("the cluster is not ready: %w: %s", ctx.Err(), strings.Join(waits, "; ")), err)
		}
	}
}

// unsettled says what of a started cluster is not ready yet.
func unsettled(ctx context.Context, client kubernetes.Interface, running Running, since time.Time) (waits []string, err error) {
	leases, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	heard := map[string]bool{}
	for _, l := range leases.Items {
		heard[l.Name] = l.Spec.RenewTime != nil && l.Spec.RenewTime.After(since)
	}
	for _, m := range running.Plan.Nodes() {
		if !heard[m.Name] {
			waits = append(waits, fmt.Sprintf("the kubelet of Node %s is not heard of", m.Name))
		}
	}
	own, err := ownNamespaces(ctx, client)
	if err != nil {
		return nil, err
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		if own[p.Namespace] && p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed && !kube.PodReady(&p) {
			waits = append(waits, fmt.Sprintf("Pod %s/%s on %s is not ready", p.Namespace, p.Name, p.Spec.NodeName))
		}
	}
	return waits, nil
}

// ownNamespaces are those whose Pods netlab or kubeadm made. Whether the user's Pods are
// ready is the user's business.
func ownNamespaces(ctx context.Context, client kubernetes.Interface) (map[string]bool, error) {
	all, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	own := map[string]bool{metav1.NamespaceSystem: true}
	for _, n := range all.Items {
		own[n.Name] = own[n.Name] || slices.ContainsFunc(n.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == manager })
	}
	return own, nil
}
