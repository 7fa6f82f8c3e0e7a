package components

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// patch applies patches.yaml: each of its documents is a strategic merge patch, as
// `kubectl patch` takes it, of the object of its kind, namespace and name. (A list of
// environment variables merges by their names.) It is for settings without a value
// in upstream's chart, and for manifests, which have no values.
func (k Component) patch(objects []unstructured.Unstructured, v View) error {
	const file = "patches.yaml"
	text, err := k.fill(file, v)
	if err != nil {
		return err
	}
	patches, err := decode(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, patch := range patches {
		if err := merge(patch, objects); err != nil {
			return fmt.Errorf("%s: %s %s: %w", file, patch.GetKind(), patch.GetName(), err)
		}
	}
	return nil
}

func merge(patch unstructured.Unstructured, objects []unstructured.Unstructured) error {
	for i, o := range objects {
		if o.GroupVersionKind() != patch.GroupVersionKind() || o.GetNamespace() != patch.GetNamespace() || o.GetName() != patch.GetName() {
			continue
		}
		typed, err := scheme.Scheme.New(o.GroupVersionKind())
		if err != nil {
			return err
		}
		objects[i].Object, err = strategicpatch.StrategicMergeMapPatch(o.Object, patch.Object, typed)
		return err
	}
	return errors.New("object not found in upstream's manifests")
}
