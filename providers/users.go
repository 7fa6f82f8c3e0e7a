package providers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"netlab.dev/netlab/providers/applied"
)

// UsersLimit bounds the listing of what is the user's in a cluster.
const UsersLimit = 10 * time.Second

// workloadKinds are the resources of which the user may have objects that run.
func workloadKinds() map[string]schema.GroupVersionResource {
	return map[string]schema.GroupVersionResource{
		"CronJob":               {Group: "batch", Version: "v1", Resource: "cronjobs"},
		"DaemonSet":             {Group: "apps", Version: "v1", Resource: "daemonsets"},
		"Deployment":            {Group: "apps", Version: "v1", Resource: "deployments"},
		"Job":                   {Group: "batch", Version: "v1", Resource: "jobs"},
		"PersistentVolumeClaim": {Version: "v1", Resource: "persistentvolumeclaims"},
		"Pod":                   {Version: "v1", Resource: "pods"},
		"ReplicaSet":            {Group: "apps", Version: "v1", Resource: "replicasets"},
		"StatefulSet":           {Group: "apps", Version: "v1", Resource: "statefulsets"},
	}
}

// Users lists what in a lab's cluster is the user's, and goes with it: one line of Namespaces and
// one of workloads, with their count and names; none if there is nothing. dir is the lab's state
// directory.
func Users(ctx context.Context, running Running, dir string) ([]string, error) {
	record, err := applied.Read(dir)
	if err != nil {
		return nil, err
	}
	config, err := running.Config()
	if err != nil {
		return nil, err
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return users(ctx, client, record)
}

func users(ctx context.Context, client metadata.Interface, record applied.Record) (lines []string, err error) {
	// The API server notes no manager of an object that was applied without fields.
	recorded := map[string]bool{}
	for _, p := range record.Parts {
		for _, o := range p.Objects {
			recorded[o.String()] = true
		}
	}
	namespaces, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the Namespaces: %w", err)
	}
	var theirs []string
	for _, n := range namespaces.Items {
		if n.Name != metav1.NamespaceDefault && !strings.HasPrefix(n.Name, "kube-") && !ours(n.ManagedFields) && !recorded["Namespace "+n.Name] {
			theirs = append(theirs, n.Name)
		}
	}
	kinds := workloadKinds()
	found := make([][]string, len(kinds))
	group, ctx := errgroup.WithContext(ctx)
	at := 0
	for kind, resource := range kinds {
		here := at
		at++
		group.Go(func() error {
			all, err := client.Resource(resource).List(ctx, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("list %s: %w", resource.Resource, err)
			}
			for _, o := range all.Items {
				_, mirror := o.Annotations[corev1.MirrorPodAnnotationKey]
				name := kind + " " + o.Namespace + "/" + o.Name
				if metav1.GetControllerOf(&o) == nil && !mirror && !ours(o.ManagedFields) && !recorded[name] {
					found[here] = append(found[here], name)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	workloads := slices.Concat(found...)
	slices.Sort(workloads)
	return slices.DeleteFunc([]string{counted(theirs, "Namespace"), counted(workloads, "workload")}, func(s string) bool { return s == "" }), nil
}

// ours reports whether netlab, or the bootstrap, made an object. Controllers write status only.
func ours(fields []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(fields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Subresource == "" && (f.Manager == manager || f.Manager == bootstrapManager)
	})
}

// mostNames is how many names counted prints.
const mostNames = 10

// counted is "2 Namespaces: a, b"; "" for none.
func counted(names []string, what string) string {
	if len(names) == 0 {
		return ""
	}
	if len(names) > 1 {
		what += "s"
	}
	more := ""
	if len(names) > mostNames {
		more = fmt.Sprintf(" and %d more", len(names)-mostNames)
	}
	return fmt.Sprintf("%d %s: %s%s", len(names), what, strings.Join(names[:min(len(names), mostNames)], ", "), more)
}
