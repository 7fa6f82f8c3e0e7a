package providers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/topology"
)

// usersLimit bounds the rollout of the user's own objects.
const (
	usersLimit         = 3 * time.Minute
	emulatedUsersLimit = 15 * time.Minute
)

// installUsers applies the user's own objects, in the order in which they need each other, and waits
// for their workloads. A webhook that is not there yet, such as that of a component, is waited for.
func (i *installer) installUsers(ctx context.Context, plan topology.Plan, r components.Rendered, step components.Step) (err error) {
	if len(r.CRDs)+len(r.Objects) == 0 {
		return nil
	}
	done := step("apply the manifests")
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeout(ctx, plan.Limit(usersLimit, emulatedUsersLimit))
	defer cancel()
	if err := i.apply(ctx, r, r.CRDs); err != nil {
		return err
	}
	i.mapper.Reset()
	namespaces, rest, workloads := ranked(r.Objects)
	if err := i.applyNamespaces(ctx, r, namespaces); err != nil {
		return err
	}
	needed := slices.DeleteFunc(slices.Clone(rest), runsPods)
	for _, rank := range [][]unstructured.Unstructured{needed, slices.Concat(slices.DeleteFunc(rest, func(o unstructured.Unstructured) bool { return !runsPods(o) }), workloads)} {
		for _, o := range rank {
			if err := i.applyUsers(ctx, plan, r, o); err != nil {
				return err
			}
		}
	}
	out, ctx := errgroup.WithContext(ctx)
	for _, w := range r.Ready {
		out.Go(func() error { return rolledOut(ctx, i.client, w) })
	}
	return out.Wait()
}

// runsPods reports whether an object outside of ranked's workloads needs what others hold, such as a
// ServiceAccount.
func runsPods(o unstructured.Unstructured) bool {
	return slices.Contains([]string{"Pod", "ReplicaSet", "ReplicationController", "CronJob"}, o.GetKind())
}

// applyUsers applies one object.
func (i *installer) applyUsers(ctx context.Context, plan topology.Plan, r components.Rendered, o unstructured.Unstructured) error {
	err := i.applyOne(ctx, r, o)
	for err != nil && webhookAway(err) && sleep(ctx, 200*time.Millisecond) {
		err = i.applyOne(ctx, r, o)
	}
	switch {
	case apierrors.IsInvalid(err):
		return hint.With(err, fmt.Sprintf("if the field cannot be changed, delete the object with `netlab kubectl %s -- delete` and run `netlab up` again", plan.Lab))
	case apierrors.IsNotFound(err):
		return hint.With(err, "add the Namespace to the manifests")
	}
	return err
}
