package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/applied"
	"netlab.dev/netlab/topology"
)

// manager is netlab's field manager in server-side apply.
const manager = "netlab"

// installLimit bounds the rollout of one component: it took up to three minutes on a loaded
// laptop. Emulated virtual machines are ten times slower.
const (
	installLimit         = 6 * time.Minute
	emulatedInstallLimit = 30 * time.Minute
)

// installer applies rendered components to a cluster.
type installer struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	nodes   map[string]Machine
	hosts   map[string]Machine
	api     string        // address and port of the API server, in the lab
	limit   time.Duration // of one component
	note    *notebook
}

func newInstaller(running Running) (*installer, error) {
	config, err := running.Config()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	i := &installer{client: client, dynamic: dyn, mapper: mapper, nodes: map[string]Machine{}, hosts: map[string]Machine{},
		api: running.Plan.Kubernetes.API.String(), limit: running.Plan.Limit(installLimit, emulatedInstallLimit), note: &notebook{}}
	for _, m := range running.Plan.Machines {
		if m.Kind == topology.KindNode {
			i.nodes[m.Name] = running.Machines[m.Name]
		} else if on, is := running.Machines[m.Name]; is {
			i.hosts[m.Name] = on
		}
	}
	return i, nil
}

// install applies a component and waits until it is ready: CRDs first, then its objects, then
// netlab's configuration of it, which its webhooks may reject until they are running, and last what it
// has on outside hosts.
func (i *installer) install(ctx context.Context, r components.Rendered, step components.Step) (err error) {
	done := step(r.Name)
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeout(ctx, i.limit)
	defer cancel()
	if err := i.apply(ctx, r, r.CRDs); err != nil {
		return err
	}
	if len(r.CRDs) > 0 {
		i.mapper.Reset()
	}
	namespaces, rest, workloads := ranked(r.Objects)
	if err := i.applyNamespaces(ctx, r, namespaces); err != nil {
		return err
	}
	if err := i.create(ctx, r, r.Once); err != nil {
		return err
	}
	for _, w := range r.Ready {
		if err := i.dropEdited(ctx, w); err != nil {
			return err
		}
	}
	for _, rank := range [][]unstructured.Unstructured{rest, workloads} {
		if err := i.apply(ctx, r, rank); err != nil {
			return err
		}
	}
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() error { return i.works(bothCtx, r) })
	both.Go(func() error {
		if err := i.prune(bothCtx, r.Config); err != nil {
			return err
		}
		return i.applyConfig(bothCtx, r)
	})
	if err := both.Wait(); err != nil || r.Account == nil {
		return err
	}
	return i.equip(ctx, *r.Account)
}

// works waits until a component is rolled out and its readiness checks succeed on every Node.
func (i *installer) works(ctx context.Context, r components.Rendered) error {
	out, outCtx := errgroup.WithContext(ctx)
	for _, w := range r.Ready {
		go renewing(outCtx, i.client, w)
		out.Go(func() error { return rolledOut(outCtx, i.client, w) })
	}
	if err := out.Wait(); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, q := range r.Asks {
		for name, node := range i.nodes {
			all.Go(func() error { return answers(ctx, q, name, node) })
		}
	}
	return all.Wait()
}

// ranked splits objects by the order in which they must be created.
func ranked(objects []unstructured.Unstructured) (namespaces, rest, workloads []unstructured.Unstructured) {
	for _, o := range objects {
		switch o.GetKind() {
		case "Namespace":
			namespaces = append(namespaces, o)
		case "Deployment", "DaemonSet", "StatefulSet", "Job":
			workloads = append(workloads, o)
		default:
			rest = append(rest, o)
		}
	}
	return namespaces, rest, workloads
}

// apply applies objects that do not depend on each other, a few at a time.
func (i *installer) apply(ctx context.Context, r components.Rendered, objects []unstructured.Unstructured) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(6)
	for _, o := range objects {
		group.Go(func() error { return i.applyOne(ctx, r, o) })
	}
	return group.Wait()
}

// applyNamespaces applies namespaces. One that is being deleted is waited for first: nothing can
// be created in it.
func (i *installer) applyNamespaces(ctx context.Context, r components.Rendered, namespaces []unstructured.Unstructured) error {
	for _, n := range namespaces {
		for {
			live, err := i.client.CoreV1().Namespaces().Get(ctx, n.GetName(), metav1.GetOptions{})
			if err != nil || live.DeletionTimestamp == nil {
				break // apply reports what is wrong
			}
			if !sleep(ctx, apiRetry) {
				return fmt.Errorf("namespace %s is being deleted: %w", n.GetName(), ctx.Err())
			}
		}
	}
	return i.apply(ctx, r, namespaces)
}

// create creates objects that do not exist yet.
func (i *installer) create(ctx context.Context, r components.Rendered, objects []unstructured.Unstructured) error {
	for _, o := range objects {
		resource, of, err := i.resource(ctx, o)
		if err != nil {
			return err
		}
		i.note.add(r.Name, applied.Existing(&o, of))
		if _, err := resource.Create(ctx, &o, metav1.CreateOptions{FieldManager: manager}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create %s: %w", called(o), err)
		}
	}
	return nil
}

// called returns the name of an object for messages.
func called(o unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// resource returns the REST resource for an object.
func (i *installer) resource(ctx context.Context, o unstructured.Unstructured) (dynamic.ResourceInterface, schema.GroupVersionResource, error) {
	kind := o.GroupVersionKind()
	mapping, err := i.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	// A CRD is served a moment after it was accepted.
	for meta.IsNoMatchError(err) && sleep(ctx, 50*time.Millisecond) {
		i.mapper.Reset()
		mapping, err = i.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, schema.GroupVersionResource{}, fmt.Errorf("find %s: %w", called(o), err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return i.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()), mapping.Resource, nil
	}
	return i.dynamic.Resource(mapping.Resource), mapping.Resource, nil
}

func (i *installer) applyOne(ctx context.Context, r components.Rendered, o unstructured.Unstructured) error {
	resource, of, err := i.resource(ctx, o)
	if err != nil {
		return err
	}
	data, err := json.Marshal(o.Object)
	if err != nil {
		return err
	}
	force := true
	live, err := resource.Patch(ctx, o.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: manager, Force: &force})
	if err != nil {
		return fmt.Errorf("apply %s: %w", called(o), err)
	}
	object, err := applied.Managed(live, of, manager)
	if err != nil {
		return fmt.Errorf("apply %s: %w", called(o), err)
	}
	object.Awaited = slices.ContainsFunc(r.Ready, func(w components.Workload) bool {
		return w.Kind == object.Kind && w.Namespace == object.Namespace && w.Name == object.Name
	})
	i.note.add(r.Name, object)
	return nil
}

// applyConfig applies objects that a webhook validates. It retries while the webhook is
// unreachable and fails immediately if the webhook rejects an object.
func (i *installer) applyConfig(ctx context.Context, r components.Rendered) error {
	for _, o := range r.Config {
		err := i.applyOne(ctx, r, o)
		for err != nil && webhookAway(err) {
			if !sleep(ctx, 200*time.Millisecond) {
				return errors.Join(ctx.Err(), err)
			}
			err = i.applyOne(ctx, r, o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// prune deletes the configuration of an earlier plan: objects of the kinds and namespaces of
// config that netlab applied and that are not in config any more. What others made stays.
func (i *installer) prune(ctx context.Context, config []unstructured.Unstructured) error {
	keep, listed := map[string]bool{}, map[string]bool{}
	for _, o := range config {
		keep[called(o)] = true
	}
	for _, o := range config {
		place := o.GetKind() + " " + o.GetNamespace()
		if listed[place] {
			continue
		}
		listed[place] = true
		resource, _, err := i.resource(ctx, o)
		if err != nil {
			return err
		}
		have, err := resource.List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list objects of kind %s: %w", o.GetKind(), err)
		}
		for _, was := range have.Items {
			if keep[called(was)] || !byNetlab(was) {
				continue
			}
			if err := resource.Delete(ctx, was.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("delete %s: %w", called(was), err)
			}
		}
	}
	return nil
}

// byNetlab reports whether netlab's server-side apply made an object.
func byNetlab(o unstructured.Unstructured) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == manager && m.Operation == metav1.ManagedFieldsOperationApply
	})
}

// webhookAway reports whether the API server could not call a webhook: it returns InternalError.
func webhookAway(err error) bool {
	return apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err)
}

// sleep waits and reports false if ctx is done first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
