package providers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/providers/applied"
	"netlab.dev/netlab/topology"
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
	dir := root.Dir(req.Plan.Lab)
	record, err := applied.Read(dir)
	if err != nil {
		return Running{}, err
	}
	var sick []NodeProblem
	revived := false
	if !isNew {
		sick, revived = sickNodes(ctx, p, state, dir, record)
	}
	began := time.Now()
	state.remember(state.Plan, req.Plan)
	state.Plan, state.File, state.Phase, state.Artifacts, state.Manifests = req.Plan, file, PhaseCreating, req.Artifacts, req.Hashes
	running, err := machines(ctx, root, p, &state, req)
	if err != nil {
		return running, err
	}
	if !isNew {
		if err := loadMissing(ctx, running, req.Artifacts, req.Step); err != nil {
			return running, err
		}
		if err := loadAgain(ctx, running, dir, req.Step); err != nil {
			return running, err
		}
	}
	i, err := newInstaller(running)
	if err != nil {
		return running, err
	}
	if err := i.restartKubelets(ctx, running, sick, record); err != nil {
		return running, err
	}
	upCtx := ctx
	work, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		work.Go(func() error { return i.install(ctx, part, req.Step) })
	}
	work.Go(func() error {
		if running.Finish != nil {
			return running.Finish(ctx)
		}
		return i.restoreBootstrap(ctx, running, record)
	})
	work.Go(func() error { return i.awaitNodes(ctx, running) })
	work.Go(func() error { return i.forgetNodes(ctx, running, state.Nodes) })
	work.Go(func() error { return atAPI(ctx, running) })
	if err := work.Wait(); err != nil {
		return running, err
	}
	if err := i.installUsers(upCtx, running.Plan, req.Users, req.Step); err != nil {
		return running, err
	}
	if running.Finish != nil {
		record = applied.Record{} // of the cluster before
	}
	if err := i.dropFormer(upCtx, record); err != nil {
		return running, err
	}
	if err := i.remember(upCtx, running, dir, record); err != nil {
		return running, err
	}
	if revived {
		// Until its kubelet is heard again, all of a Node's Pods count as ready, those that start too.
		if err := settle(upCtx, running, dir, began, req.Step); err != nil {
			return running, err
		}
	}
	if isNew {
		if err := artifacts.Learn(req.Artifacts.Caches, dir); err != nil {
			return running, fmt.Errorf("keep what the Nodes computed for later labs: %w", err)
		}
	}
	state.Phase, state.Nodes = PhaseUp, nil
	state.remember(state.Plan)
	return running, root.Write(state)
}

// remember waits for all workloads, and records what was applied, now and according to the
// earlier record of this cluster, and how the Nodes are registered.
func (i *installer) remember(ctx context.Context, running Running, dir string, earlier applied.Record) (err error) {
	if err := i.noteBootstrap(ctx, earlier); err != nil {
		return err
	}
	record := i.note.record()
	if err := i.await(ctx, record); err != nil {
		return err
	}
	if record.Nodes, err = i.registered(ctx, running); err != nil {
		return err
	}
	return record.Write(dir)
}

// remember adds the names of the Nodes of plans to those that the lab has or had.
func (s *State) remember(plans ...topology.Plan) {
	for _, p := range plans {
		for _, m := range p.Nodes() {
			if !slices.Contains(s.Nodes, m.Name) {
				s.Nodes = append(s.Nodes, m.Name)
			}
		}
	}
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

// forgetNodes deletes the Node objects of machines that the lab had and that are no longer in the
// plan, and their Pods: the Pod garbage collector would keep them as Service endpoints for a
// minute. Nodes that netlab did not make are the user's.
func (i *installer) forgetNodes(ctx context.Context, running Running, had []string) error {
	gone := slices.DeleteFunc(slices.Clone(had), func(name string) bool { _, planned := running.Machines[name]; return planned })
	if len(gone) == 0 {
		return nil
	}
	for _, name := range gone {
		if err := i.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete Node %s: %w", name, err)
		}
	}
	pods, err := i.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var now int64 // no kubelet is left to terminate them gracefully
	for _, p := range pods.Items {
		if !slices.Contains(gone, p.Spec.NodeName) {
			continue
		}
		err := i.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete Pod %s/%s of Node %s: %w", p.Namespace, p.Name, p.Spec.NodeName, err)
		}
	}
	return nil
}

// Down removes a lab that one of the makers created, with or without a state directory. It
// continues after ctx was cancelled, within its own time limit, so that nothing is left half
// removed, and after an error: the state is removed last, and only if nothing else is left.
func Down(ctx context.Context, root Root, lab labs.Name, makers ...Provider) error {
	if err := lab.Check(); err != nil {
		return err
	}
	limit := deleteLimit
	if state, err := root.Read(lab); err == nil {
		limit = state.Plan.Limit(deleteLimit, deleteLimit)
		state.Phase = PhaseDeleting
		_ = root.Write(state) // on a full or read-only disk the lab is removed all the same
	}
	var errs error
	for _, p := range makers {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		errs = errors.Join(errs, p.Delete(limited, lab, root.Dir(lab)))
		cancel()
	}
	if errs != nil {
		return errs
	}
	if err := root.RemoveDir(lab); err != nil {
		return err
	}
	// A verification that was killed left its lock file; one that runs removes its own.
	for _, what := range []string{".verify", ".exercise"} {
		if release, err := root.lock(ctx, lab, what, 0, nil); err == nil {
			release()
		}
	}
	return nil
}
