package providers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/internal/kube"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/applied"
	"netlab.dev/netlab/topology"
)

// Stopper is a Provider that can stop a lab and keep its disks.
type Stopper interface {
	// Stop shuts the Nodes down, stops every other process of the lab and removes its links,
	// mounts and cgroups. The Nodes' disks stay: Create starts them again. Stopping a stopped
	// lab is not an error.
	Stop(ctx context.Context, lab labs.Name, dir string) error
}

const (
	// stopLimit bounds Stop: all Nodes are stopped in parallel, each within half of it.
	stopLimit = time.Minute
	// settleLimit bounds the wait for a started lab's Pods, on a laptop under load. Emulated
	// machines take longer.
	settleLimit         = 4 * time.Minute
	emulatedSettleLimit = 20 * time.Minute
)

// Stop stops a lab and keeps it. The phase is written before the first process is stopped; an
// interrupted Stop is continued by another one, or by Start.
func Stop(ctx context.Context, root Root, p Provider, lab labs.Name) error {
	state, err := root.Read(lab)
	if err != nil {
		return err
	}
	stopper, able := p.(Stopper)
	switch {
	case !able:
		return hint.With(fmt.Errorf("provider %s does not support stopping a lab", state.Plan.Provider), fmt.Sprintf("`netlab down %s` removes it", lab))
	case !state.Made():
		return state.NotUp()
	}
	ctx, cancel := context.WithTimeout(ctx, state.Plan.Limit(stopLimit, stopLimit))
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

// Start starts a stopped lab from its state alone: it starts the machines and waits until every
// Node's kubelet has renewed its lease and the system Pods are ready.
func Start(ctx context.Context, root Root, p Provider, lab labs.Name, step components.Step) (Running, error) {
	state, err := root.Read(lab)
	if err != nil {
		return Running{}, err
	}
	if !state.Made() {
		return Running{}, state.NotUp()
	}
	if err := state.stocked(); err != nil {
		return Running{}, err
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
	if err := settle(ctx, running, root.Dir(lab), began, step); err != nil {
		return running, err
	}
	state.Phase = PhaseUp
	return running, root.Write(state)
}

// settle waits until every Node's kubelet has renewed its lease since a given time, the Pods
// of netlab's components are ready, and their controllers have seen it.
func settle(ctx context.Context, running Running, dir string, since time.Time, step components.Step) (err error) {
	done := step("Nodes and Pods")
	defer func() { done(err) }()
	client, err := running.Client()
	if err != nil {
		return err
	}
	record, err := applied.Read(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, running.Plan.Limit(settleLimit, emulatedSettleLimit))
	defer cancel()
	left := renewals
	beats := heartbeats{since: since, first: map[string]time.Time{}}
	for {
		waits, pods, err := unsettled(ctx, client, running, record, beats)
		left = renew(ctx, client, pods, left)
		if err == nil && len(waits) == 0 {
			return nil
		}
		if !sleep(ctx, 2*apiRetry) {
			return errors.Join(fmt.Errorf("the cluster is not ready: %w: %s", ctx.Err(), strings.Join(waits, "; ")), err)
		}
	}
}

// heartbeats tells which kubelets have renewed their leases since a lab was started. A Node with a
// kernel of its own has a clock of its own, which may lag by minutes or be ahead: there it counts
// that the time of the lease is another than at the first look.
type heartbeats struct {
	since time.Time // by this machine's clock
	first map[string]time.Time
}

// heard reports whether the kubelet of a Node has renewed its lease, whose time is now renewed.
func (h heartbeats) heard(m topology.Machine, renewed time.Time) bool {
	if !m.OwnKernel {
		return renewed.After(h.since)
	}
	first, looked := h.first[m.Name]
	if !looked {
		h.first[m.Name] = renewed
		return false
	}
	return !renewed.Equal(first)
}

// unsettled lists what is not ready yet in a started cluster, the Pods among it once more.
func unsettled(ctx context.Context, client kubernetes.Interface, running Running, record applied.Record, beats heartbeats) (waits []string, pods []corev1.Pod, err error) {
	leases, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	renewed := map[string]time.Time{}
	for _, l := range leases.Items {
		if l.Spec.RenewTime != nil {
			renewed[l.Name] = l.Spec.RenewTime.Time
		}
	}
	for _, m := range running.Plan.Nodes() {
		if !beats.heard(m, renewed[m.Name]) {
			waits = append(waits, fmt.Sprintf("the kubelet of Node %s has not renewed its lease", m.Name))
		}
	}
	own, err := ownNamespaces(ctx, client, record)
	if err != nil {
		return nil, nil, err
	}
	all, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range all.Items {
		if own[p.Namespace] && p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed && !kube.PodReady(&p) {
			waits = append(waits, fmt.Sprintf("Pod %s/%s on %s is not ready", p.Namespace, p.Name, p.Spec.NodeName))
			pods = append(pods, p)
		}
	}
	if len(waits) > 0 {
		return waits, pods, nil
	}
	// Their controllers write what they see later: until then `netlab status` finds them unavailable.
	workloads, err := awaited(ctx, client, record)
	for _, w := range workloads {
		if what, ready := available(w.live); !ready && !nowhere(w.live) {
			waits = append(waits, fmt.Sprintf("%s: %s", w.object, what))
		}
	}
	return waits, pods, err
}

// nowhere reports whether a workload is a DaemonSet that no Node is selected for: what somebody
// has disabled like that does not keep a lab from starting.
func nowhere(object any) bool {
	d, ok := object.(*appsv1.DaemonSet)
	return ok && d.Status.DesiredNumberScheduled == 0 && d.Status.ObservedGeneration >= d.Generation
}

// ownNamespaces are the namespaces whose Pods netlab or kubeadm created. Start does not wait for
// the user's Pods.
func ownNamespaces(ctx context.Context, client kubernetes.Interface, record applied.Record) (map[string]bool, error) {
	all, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	own := map[string]bool{metav1.NamespaceSystem: true}
	// The API server notes no manager of a Namespace that was applied without labels.
	for _, p := range record.Parts {
		for _, o := range p.Objects {
			own[o.Name] = own[o.Name] || o.Kind == "Namespace"
		}
	}
	for _, n := range all.Items {
		own[n.Name] = own[n.Name] || slices.ContainsFunc(n.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == manager })
	}
	return own, nil
}
