// Package applied records which objects `up` put into a cluster and which of their fields it set,
// and compares the record with the cluster. It takes objects as the API server returned them and
// a client configuration; it gives differences, and corrects none. Objects and fields that others
// added are not compared.
package applied

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"netlab.dev/netlab/internal/atomicfile"
)

// Record is what a lab's `up` applied; the zero value is nothing.
type Record struct {
	SchemaVersion int    `json:"schemaVersion"` // of the JSON; Write sets it
	Parts         []Part `json:"parts"`
	Nodes         []Node `json:"nodes"`
}

// Node is how a Node was registered: what its Pods' addresses and routes, and its role, depend on.
type Node struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	PodCIDRs    []string          `json:"podCIDRs,omitempty"`
	Taints      []corev1.Taint    `json:"taints,omitempty"` // without those of the node controller
	// A kubelet that starts rejects the Pods of a Node without these.
	Capacity    corev1.ResourceList `json:"capacity,omitempty"`
	Allocatable corev1.ResourceList `json:"allocatable,omitempty"`
}

// Part is the objects of one component, or of the bootstrap.
type Part struct {
	Name    string   `json:"name"`
	Objects []Object `json:"objects"`
}

// Object is one applied object.
type Object struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version"`
	Resource  string `json:"resource"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Manager   string `json:"manager,omitempty"` // the field manager that set Owned
	// Owned are the fields that were set, as FieldsV1 of Kubernetes' managed fields. The API
	// server takes a field off them when somebody else sets another value. None: the object has
	// to exist, whatever it holds.
	Owned json.RawMessage `json:"owned,omitempty"`
	// Fields are the values of Owned, by path: JSON, or its hash if that is long.
	Fields map[string]string `json:"fields,omitempty"`
	// Awaited: a Deployment or DaemonSet that is to be fully available.
	Awaited bool `json:"awaited,omitempty"`
}

func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// GVR is its resource.
func (o Object) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: o.Group, Version: o.Version, Resource: o.Resource}
}

// Existing is an object of which only the existence is compared.
func Existing(o *unstructured.Unstructured, of schema.GroupVersionResource) Object {
	return Object{Group: of.Group, Version: of.Version, Resource: of.Resource, Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// Managed is an object with the fields that a field manager set in it.
func Managed(o *unstructured.Unstructured, of schema.GroupVersionResource, manager string) (Object, error) {
	object := Existing(o, of)
	set, err := owned(o.GetManagedFields(), manager)
	if err != nil || set.Empty() {
		return object, err
	}
	object.Manager, object.Fields = manager, values(o.Object, set)
	object.Owned, err = set.ToJSON()
	return object, err
}

// With adds the fields of an earlier record of the object that its manager no longer owns.
func (o Object) With(earlier Object) (Object, error) {
	if len(earlier.Owned) == 0 || earlier.Manager != o.Manager && len(o.Owned) > 0 {
		return o, nil
	}
	before, err := parse(earlier.Owned)
	if err != nil {
		return o, fmt.Errorf("record of %s: %w", o, err)
	}
	now := fieldpath.NewSet()
	if len(o.Owned) > 0 {
		if now, err = parse(o.Owned); err != nil {
			return o, fmt.Errorf("managed fields of %s: %w", o, err)
		}
	}
	fields := maps.Clone(earlier.Fields)
	if fields == nil {
		fields = map[string]string{}
	}
	maps.Copy(fields, o.Fields)
	o.Manager, o.Fields = earlier.Manager, fields
	o.Owned, err = now.Union(before).ToJSON()
	return o, err
}

// Of returns the objects of one part.
func (r Record) Of(part string) []Object {
	for _, p := range r.Parts {
		if p.Name == part {
			return p.Objects
		}
	}
	return nil
}

// Object returns what the record has of an object in one of its parts.
func (r Record) Object(part string, o Object) (Object, bool) {
	for _, p := range r.Parts {
		for _, x := range p.Objects {
			if p.Name == part && x.GVR() == o.GVR() && x.String() == o.String() {
				return x, true
			}
		}
	}
	return Object{}, false
}

const (
	schemaVersion = 1
	fileName      = "applied.json"
)

// Write replaces the record in a lab's state directory.
func (r Record) Write(dir string) error {
	r.SchemaVersion = schemaVersion
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, fileName), data, 0o600)
}

// Read reads the record in a lab's state directory. It is empty if there is none, or if another
// version of netlab wrote it: the next `up` writes one.
func Read(dir string) (r Record, err error) {
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("read %s: %w", filepath.Join(dir, fileName), err)
	}
	if r.SchemaVersion != schemaVersion {
		return Record{}, nil
	}
	return r, nil
}

// Node returns the Node of a name; false if there is none in the record.
func (r Record) Node(name string) (Node, bool) {
	i := slices.IndexFunc(r.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return r.Nodes[i], true
}

// NodeOf is how a Node is registered.
func NodeOf(n corev1.Node) Node {
	taints := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return strings.HasPrefix(t.Key, "node.kubernetes.io/") })
	return Node{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations, PodCIDRs: n.Spec.PodCIDRs, Taints: taints,
		Capacity: n.Status.Capacity, Allocatable: n.Status.Allocatable}
}

// Object is a Node to be created as it was registered, and then to get its status.
func (n Node) Object() *corev1.Node {
	o := &corev1.Node{Spec: corev1.NodeSpec{PodCIDRs: n.PodCIDRs, Taints: n.Taints}, Status: corev1.NodeStatus{Capacity: n.Capacity, Allocatable: n.Allocatable}}
	o.Name, o.Labels, o.Annotations = n.Name, n.Labels, n.Annotations
	if len(n.PodCIDRs) > 0 {
		o.Spec.PodCIDR = n.PodCIDRs[0]
	}
	return o
}
