package providers

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/applied"
)

// keptKinds are never deleted by an update: what the user made of or in them would go too.
func keptKinds() []string { return []string{"CustomResourceDefinition", "Namespace"} }

// dropFormer deletes what an earlier version of a component had and the one that was just applied has
// not: objects of the earlier record that netlab applied.
func (i *installer) dropFormer(ctx context.Context, earlier applied.Record) error {
	now := i.note.record()
	parts := now.Parts
	if now.Of(components.Users) == nil {
		parts = append(slices.Clone(parts), applied.Part{Name: components.Users}) // the user took all of them out
	}
	for _, p := range parts {
		for _, o := range earlier.Of(p.Name) {
			still := slices.ContainsFunc(now.Parts, func(other applied.Part) bool { _, has := now.Object(other.Name, o); return has })
			if still || o.Manager != manager || slices.Contains(keptKinds(), o.Kind) {
				continue
			}
			resource := i.dynamic.Resource(o.GVR()).Namespace(o.Namespace)
			live, err := resource.Get(ctx, o.Name, metav1.GetOptions{})
			if err == nil && byNetlab(*live) {
				err = resource.Delete(ctx, o.Name, metav1.DeleteOptions{})
			}
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("delete %s, which %s does not have any more: %w", o, p.Name, err)
			}
		}
	}
	return nil
}
