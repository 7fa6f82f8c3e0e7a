package providers

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/applied"
)

// Bootstrap is what the bootstrap of a cluster installs besides components: CoreDNS, kube-proxy,
// RBAC.
type Bootstrap struct {
	// Again installs it once more into a running cluster. It keeps part of what it finds, such as
	// the number of replicas.
	Again func(context.Context) error
}

// bootstrapManager is the field manager of its objects.
const bootstrapManager = "kubeadm"

// bootstrapPart is the name of its objects in the record of what was applied.
const bootstrapPart = "kubernetes"

// bootstrapKinds are the resources in which it has objects, those in kube-system and those of the
// cluster. Secrets are not among them: its bootstrap tokens expire.
func bootstrapKinds() (namespaced, cluster []schema.GroupVersionResource) {
	of := func(group string, resources ...string) (all []schema.GroupVersionResource) {
		for _, r := range resources {
			all = append(all, schema.GroupVersionResource{Group: group, Version: "v1", Resource: r})
		}
		return all
	}
	const rbac = "rbac.authorization.k8s.io"
	return slices.Concat(of("apps", "daemonsets", "deployments"), of("", "services", "serviceaccounts", "configmaps"), of(rbac, "roles", "rolebindings")),
		of(rbac, "clusterroles", "clusterrolebindings")
}

// notebook collects what is applied, by part. It is safe for concurrent use.
type notebook struct {
	mu    sync.Mutex
	parts map[string][]applied.Object
}

func (n *notebook) add(part string, o applied.Object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.parts == nil {
		n.parts = map[string][]applied.Object{}
	}
	others := slices.DeleteFunc(n.parts[part], func(x applied.Object) bool { return x.GVR() == o.GVR() && x.String() == o.String() })
	n.parts[part] = append(others, o) // a chart may apply what was created before
}

// record returns what was collected.
func (n *notebook) record() (r applied.Record) {
	for name, objects := range n.parts {
		slices.SortFunc(objects, func(a, b applied.Object) int { return cmp.Compare(a.String(), b.String()) })
		r.Parts = append(r.Parts, applied.Part{Name: name, Objects: objects})
	}
	slices.SortFunc(r.Parts, func(a, b applied.Part) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// await waits until the workloads of a record are available: those of the bootstrap, and those of
// components, of which a Node that was registered again lost some.
func (i *installer) await(ctx context.Context, record applied.Record) error {
	ctx, cancel := context.WithTimeout(ctx, i.limit)
	defer cancel()
	all, ctx := errgroup.WithContext(ctx)
	for _, p := range record.Parts {
		for _, o := range p.Objects {
			if o.Awaited {
				all.Go(func() error {
					return rolledOut(ctx, i.client, components.Workload{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name})
				})
			}
		}
	}
	return all.Wait()
}

// noteBootstrap collects the objects of the bootstrap. Of ConfigMaps only the existence counts:
// kubeadm itself keeps an edited Corefile. It applies only what was missing: what it set according
// to the earlier record, and somebody else set to the same value since, remains its own.
func (i *installer) noteBootstrap(ctx context.Context, earlier applied.Record) error {
	namespaced, cluster := bootstrapKinds()
	group, ctx := errgroup.WithContext(ctx)
	for at, resource := range slices.Concat(namespaced, cluster) {
		namespace := ""
		if at < len(namespaced) {
			namespace = metav1.NamespaceSystem
		}
		group.Go(func() error {
			objects, err := i.dynamic.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("list %s: %w", resource.Resource, err)
			}
			for _, o := range objects.Items {
				if err := i.noteManaged(&o, resource, earlier); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// noteManaged collects one object, unless it is somebody else's.
func (i *installer) noteManaged(o *unstructured.Unstructured, resource schema.GroupVersionResource, earlier applied.Record) error {
	object, err := applied.Managed(o, resource, bootstrapManager)
	if before, ok := earlier.Object(bootstrapPart, object); ok && err == nil {
		object, err = object.With(before)
	}
	if err != nil || len(object.Owned) == 0 {
		return err
	}
	if object.Kind == "ConfigMap" {
		object = applied.Existing(o, resource)
	}
	object.Awaited = object.Kind == "DaemonSet" || object.Kind == "Deployment"
	i.note.add(bootstrapPart, object)
	return nil
}

// clusterProblems lists how a cluster differs from what was applied to it, from its plan's Nodes,
// and what is not ready in it.
func clusterProblems(ctx context.Context, running Running, record applied.Record) (problems []error, err error) {
	config, err := running.Config()
	if err != nil {
		return nil, err
	}
	client, err := running.Client()
	if err != nil {
		return nil, err
	}
	var differences []applied.Difference
	var nodes []NodeProblem
	var unready []error
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() (err error) { differences, err = applied.Compare(ctx, config, record); return err })
	all.Go(func() (err error) { nodes, err = nodeProblems(ctx, client, running, record); return err })
	all.Go(func() (err error) { unready, err = unavailable(ctx, client, record); return err })
	if err := all.Wait(); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		problems = append(problems, n)
	}
	for _, d := range differences {
		problems = append(problems, d)
	}
	return append(problems, unready...), nil
}

// unavailable lists the awaited workloads of a record that are not fully available; those that do
// not exist are differences.
func unavailable(ctx context.Context, client kubernetes.Interface, record applied.Record) (problems []error, err error) {
	all, err := awaited(ctx, client, record)
	for _, w := range all {
		if what, ready := available(w.live); !ready {
			problems = append(problems, fmt.Errorf("%s: %s: %s", w.part, w.object, what))
		}
	}
	return problems, err
}

// A workload is one that netlab waited for when it installed a part, as it is in the cluster.
type workload struct {
	part   string
	object applied.Object
	live   any // *appsv1.DaemonSet, *appsv1.StatefulSet or *appsv1.Deployment
}

// awaited reads the awaited workloads of a record, without those that do not exist.
func awaited(ctx context.Context, client kubernetes.Interface, record applied.Record) (all []workload, err error) {
	for _, p := range record.Parts {
		for _, o := range p.Objects {
			if !o.Awaited {
				continue
			}
			live, err := liveWorkload(ctx, client, o.Kind, o.Namespace, o.Name)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", o, err)
			}
			all = append(all, workload{p.Name, o, live})
		}
	}
	return all, nil
}

// restoreBootstrap installs the bootstrap's objects again if some are missing or changed. Changed
// workloads are deleted first, since it would keep part of what it finds.
func (i *installer) restoreBootstrap(ctx context.Context, running Running, record applied.Record) error {
	config, err := running.Config()
	if err != nil {
		return err
	}
	own := slices.DeleteFunc(slices.Clone(record.Parts), func(p applied.Part) bool { return p.Name != bootstrapPart })
	differences, err := applied.Compare(ctx, config, applied.Record{Parts: own})
	if err != nil {
		return err
	}
	edited, err := i.edited(ctx, own)
	if err != nil {
		return err
	}
	if differences = append(differences, edited...); len(differences) == 0 {
		return nil
	}
	for _, d := range differences {
		if !d.Object.Awaited || len(d.What) == 0 {
			continue
		}
		err := i.dynamic.Resource(d.Object.GVR()).Namespace(d.Object.Namespace).Delete(ctx, d.Object.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", d.Object, err)
		}
	}
	return running.Bootstrap.Again(ctx)
}

// edited lists the awaited workloads of some parts that are not available and that somebody edited.
func (i *installer) edited(ctx context.Context, parts []applied.Part) (all []applied.Difference, err error) {
	for _, p := range parts {
		for _, o := range p.Objects {
			if !o.Awaited {
				continue
			}
			broken, err := i.brokenByEdit(ctx, o.Kind, o.Namespace, o.Name)
			if err != nil {
				return nil, err
			}
			if broken {
				all = append(all, applied.Difference{Part: p.Name, Object: o, What: []string{"it was edited and is not available"}})
			}
		}
	}
	return all, nil
}

// dropEdited deletes a workload that is not available and that somebody edited: a server-side apply
// takes back no field that others added, such as a node selector.
func (i *installer) dropEdited(ctx context.Context, w components.Workload) error {
	broken, err := i.brokenByEdit(ctx, w.Kind, w.Namespace, w.Name)
	if err != nil || !broken {
		return err
	}
	if w.Kind == "DaemonSet" {
		err = i.client.AppsV1().DaemonSets(w.Namespace).Delete(ctx, w.Name, metav1.DeleteOptions{})
	} else {
		err = i.client.AppsV1().Deployments(w.Namespace).Delete(ctx, w.Name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", w, err)
	}
	return nil
}

// brokenByEdit reports whether a workload is not available, and has fields of its spec from others
// than netlab and the bootstrap.
func (i *installer) brokenByEdit(ctx context.Context, kind, namespace, name string) (bool, error) {
	live, err := liveWorkload(ctx, i.client, kind, namespace, name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s %s/%s: %w", kind, namespace, name, err)
	}
	if _, ready := available(live); ready {
		return false, nil
	}
	return slices.ContainsFunc(live.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Subresource == "" && f.Manager != manager && f.Manager != bootstrapManager && f.FieldsV1 != nil && bytes.Contains(f.FieldsV1.GetRawBytes(), []byte(`"f:spec"`))
	}), nil
}
