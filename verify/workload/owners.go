package workload

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// owners are the UIDs of the registered Nodes, by name. Like a mirror Pod, an agent Pod has its
// Node as its controller: `kubectl drain` refuses Pods that have none, and an agent ends with
// its Node. A controller of Kubernetes would start the Pods seconds later, and with other names.
type owners map[string]types.UID

func listNodes(ctx context.Context, client dynamic.Interface) (owners, error) {
	nodes, err := client.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	out := owners{}
	for _, n := range nodes.Items {
		out[n.GetName()] = n.GetUID()
	}
	return out, nil
}

// of returns the reference from an agent Pod to its Node; none before the Node has registered.
func (x owners) of(pod *unstructured.Unstructured) (metav1.OwnerReference, bool) {
	node, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
	uid, registered := x[node]
	isController := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node, UID: uid, Controller: &isController}, registered
}

// keeps reports whether an object may stay: a Pod whose Node was registered again under another
// UID is about to be collected as garbage.
func (x owners) keeps(existing found) bool {
	want, registered := x.of(&existing.Object)
	is := metav1.GetControllerOf(&existing.Object)
	return !registered || is == nil || is.UID == want.UID
}

// adopt gives a Pod that was created before its Node had registered its owner.
func (x owners) adopt(ctx context.Context, client dynamic.Interface, existing found) error {
	reference, registered := x.of(&existing.Object)
	if !registered || metav1.GetControllerOf(&existing.Object) != nil {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []metav1.OwnerReference{reference}}})
	if err != nil {
		return err
	}
	_, err = client.Resource(existing.Resource).Namespace(existing.Object.GetNamespace()).
		Patch(ctx, existing.Object.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("give Pod %s its owner: %w", existing.Object.GetName(), err)
	}
	return nil
}
