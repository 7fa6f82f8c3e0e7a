package providers

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/providers/applied"
)

// An update deletes what the earlier version of a component had and the new one has not, if netlab
// applied it; definitions, namespaces, what somebody else made under the same name, and what other
// components have, stay.
func TestDropFormer(t *testing.T) {
	kinds := map[string]schema.GroupVersionResource{
		"ConfigMap":                {Version: "v1", Resource: "configmaps"},
		"Namespace":                {Version: "v1", Resource: "namespaces"},
		"CustomResourceDefinition": {Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	}
	earlier := map[string][]applied.Object{}
	var objects []runtime.Object
	add := func(part, kind, namespace, name, by string) applied.Object {
		of := kinds[kind]
		o := unstructured.Unstructured{Object: map[string]any{}}
		o.SetGroupVersionKind(of.GroupVersion().WithKind(kind))
		o.SetNamespace(namespace)
		o.SetName(name)
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: by, Operation: metav1.ManagedFieldsOperationApply}})
		object := applied.Existing(&o, of)
		object.Manager = manager
		objects = append(objects, &o)
		earlier[part] = append(earlier[part], object)
		return object
	}
	add("lb", "ConfigMap", "lb", "former", manager)
	add("lb", "ConfigMap", "lb", "replaced", "somebody")
	add("lb", "CustomResourceDefinition", "", "definition", manager)
	add("lb", "Namespace", "", "space", manager)
	add("gone", "ConfigMap", "gone", "of-no-part", manager)
	add(components.Users, "ConfigMap", "shop", "of-the-user", manager) // whose manifests are all gone
	add(components.Users, "Namespace", "", "shop", manager)
	once := add("lb", "ConfigMap", "lb", "certificate", manager)
	earlier["lb"][len(earlier["lb"])-1].Manager = ""
	kept := add("lb", "ConfigMap", "lb", "kept", manager)
	moved := add("lb", "ConfigMap", "lb", "moved", manager) // to another component

	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{kinds["ConfigMap"]: "ConfigMapList"}, objects...)
	i := &installer{dynamic: client, note: &notebook{}}
	i.note.add("lb", kept)
	i.note.add("cni", moved)
	record := (&notebook{parts: earlier}).record()
	for range 2 { // the second time it is not there any more
		if err := i.dropFormer(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	var deleted []string
	for _, a := range client.Actions() {
		if d, ok := a.(interface{ GetName() string }); ok && a.GetVerb() == "delete" {
			deleted = append(deleted, d.GetName())
		}
	}
	if !slices.Equal(deleted, []string{"former", "of-the-user"}) {
		t.Errorf("deleted %v, want former and what the user's manifests had; %s stays", deleted, once)
	}
}
