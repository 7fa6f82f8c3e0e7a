package providers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
)

const (
	apiRetry      = 100 * time.Millisecond
	diagnoseLimit = 10 * time.Second
	deleteLimit   = time.Minute
)

// Up brings a lab up: its machines, then in parallel its components and atAPI, which runs as
// soon as the API server responds. It continues from wherever an earlier Up stopped. The state is
// written before each step.
func Up(ctx context.Context, root Root, p Provider, req Request, parts []components.Rendered, file string,
	atAPI func(context.Context, Running) error) (Running, error) {
	state, err := root.Read(req.Plan.Lab)
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		state.Created, err = time.Now().UTC(), nil
	}
	if err != nil {
		return Running{}, err
	}
	state.Plan, state.File, state.Phase, state.Artifacts = req.Plan, file, PhaseCreating, req.Artifacts
	running, err := machines(ctx, root, p, &state, req)
	if err != nil {
		return running, err
	}
	if !isNew {
		if err := loadMissing(ctx, running, req.Artifacts, req.Step); err != nil {
			return running, err
		}
	}
	i, err := newInstaller(running)
	if err != nil {
		return running, err
	}
	work, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		work.Go(func() error { return i.install(ctx, part, req.Step) })
	}
	if running.Finish != nil {
		work.Go(func() error { return running.Finish(ctx) })
	}
	work.Go(func() error { return i.forgetNodes(ctx, running) })
	work.Go(func() error { return atAPI(ctx, running) })
	if err := work.Wait(); err != nil {
		return running, err
	}
	state.Phase = PhaseUp
	return running, root.Write(state)
}

// machines starts a lab's machines and writes its state before and after.
func machines(ctx context.Context, root Root, p Provider, state *State, req Request) (Running, error) {
	if err := root.Write(*state); err != nil {
		return Running{}, err
	}
	req.Dir, req.APIPort = root.Dir(req.Plan.Lab), state.APIPort
	running, err := p.Create(ctx, req)
	if err != nil {
		return running, err
	}
	state.APIPort = running.APIPort
	return running, root.Write(*state)
}

// forgetNodes deletes the Node objects of machines that were removed from the plan, and their
// Pods: the Pod garbage collector would keep them as Service endpoints for a minute.
func (i *installer) forgetNodes(ctx context.Context, running Running) error {
	nodes, err := i.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		if _, planned := running.Machines[n.Name]; planned {
			continue
		}
		if err := i.client.CoreV1().Nodes().Delete(ctx, n.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete Node %s: %w", n.Name, err)
		}
	}
	pods, err := i.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var now int64 // no kubelet is left to terminate them gracefully
	for _, p := range pods.Items {
		if _, planned := running.Machines[p.Spec.NodeName]; planned || p.Spec.NodeName == "" {
			continue
		}
		err := i.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete Pod %s/%s of Node %s: %w", p.Namespace, p.Name, p.Spec.NodeName, err)
		}
	}
	return nil
}

// Down removes a lab, with or without a state directory. It continues after ctx was cancelled,
// within its own time limit, so that nothing is left half removed.
func Down(ctx context.Context, root Root, p Provider, lab labs.Name) error {
	if err := lab.Check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteLimit)
	defer cancel()
	if state, err := root.Read(lab); err == nil {
		state.Phase = PhaseDeleting
		if err := root.Write(state); err != nil {
			return err
		}
	}
	return p.Delete(ctx, lab, root.Dir(lab))
}
