package applied

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

var pools = schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: "ipaddresspools"}

// pool is an object with what managers own of it, as FieldsV1.
func pool(t *testing.T, name, spec string, managers map[string]string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool"}}
	o.SetName(name)
	o.SetNamespace("metallb-system")
	var value map[string]any
	if err := json.Unmarshal([]byte(spec), &value); err != nil {
		t.Fatal(err)
	}
	o.Object["spec"] = value
	var fields []metav1.ManagedFieldsEntry
	for manager, owned := range managers {
		fields = append(fields, metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply,
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(owned)})
	}
	o.SetManagedFields(fields)
	return o
}

// cluster is an API server with some objects of one resource.
type cluster struct {
	objects []*unstructured.Unstructured
	defined bool     // the resource is
	read    []string // whole objects that were asked for
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	const path = "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools"
	name, one := strings.CutPrefix(r.URL.Path, path+"/")
	items := []any{}
	for _, o := range c.objects {
		if one && o.GetName() == name {
			c.read = append(c.read, name)
			json.NewEncoder(w).Encode(o.Object)
			return
		}
		items = append(items, map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o.Object["metadata"]})
	}
	if one || !c.defined || r.URL.Path != path {
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404})
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata") {
		w.WriteHeader(http.StatusNotAcceptable) // whole objects are not listed
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": map[string]any{}, "items": items})
}

const (
	both          = `{"f:spec":{"f:addresses":{},"f:autoAssign":{}}}`
	appliedSpec   = `{"autoAssign": true, "addresses": ["172.30.0.200-172.30.0.219"]}`
	withoutRanges = `{"f:spec":{"f:autoAssign":{}}}`
	onlyRanges    = `{"f:spec":{"f:addresses":{}}}`
)

func TestCompare(t *testing.T) {
	object, err := Managed(pool(t, "lab", appliedSpec, map[string]string{"netlab": both}), pools, "netlab")
	if err != nil {
		t.Fatal(err)
	}
	record := Record{Parts: []Part{{Name: "metallb", Objects: []Object{object}}}}
	if data, err := json.Marshal(record); err != nil {
		t.Fatal(err)
	} else if record = (Record{}); json.Unmarshal(data, &record) != nil {
		t.Fatal("the record cannot be read again")
	}
	const found = "metallb: IPAddressPool metallb-system/lab"
	for name, c := range map[string]struct {
		spec     string
		managers map[string]string // nil: no object
		want     string
		read     bool
	}{
		"as applied":             {appliedSpec, map[string]string{"netlab": both}, "", false},
		"somebody added a field": {`{"autoAssign": true, "addresses": ["172.30.0.200-172.30.0.219"], "avoidBuggyIPs": true}`, map[string]string{"netlab": both, "kubectl-edit": `{"f:spec":{"f:avoidBuggyIPs":{}}}`}, "", false},
		"edited":                 {`{"autoAssign": true, "addresses": ["172.30.0.230/32"]}`, map[string]string{"netlab": withoutRanges, "kubectl-edit": onlyRanges}, found + `: spec.addresses is ["172.30.0.230/32"], applied was ["172.30.0.200-172.30.0.219"]`, true},
		"edited and undone":      {appliedSpec, map[string]string{"netlab": withoutRanges, "kubectl-edit": onlyRanges}, "", true},
		"a field removed":        {`{"addresses": ["172.30.0.200-172.30.0.219"]}`, map[string]string{"netlab": onlyRanges}, found + ": spec.autoAssign was removed", true},
		"emptied":                {`{"autoAssign": true, "addresses": []}`, map[string]string{"netlab": withoutRanges, "kubectl-edit": onlyRanges}, found + ": spec.addresses was removed", true},
		"recreated by somebody":  {`{"autoAssign": false, "addresses": []}`, map[string]string{"kubectl-create": both}, found + `: spec.addresses was removed, spec.autoAssign is false, applied was true`, true},
		"deleted":                {"", nil, found + " not found", false},
	} {
		t.Run(name, func(t *testing.T) {
			api := &cluster{defined: true, objects: []*unstructured.Unstructured{pool(t, "another", "{}", map[string]string{"kubectl": both})}}
			if c.managers != nil {
				api.objects = append(api.objects, pool(t, "lab", c.spec, c.managers))
			}
			if got := compared(t, api, record); got != c.want {
				t.Errorf("differences\n%s\nwant\n%s", got, c.want)
			}
			if got := len(api.read) > 0; got != c.read {
				t.Errorf("whole objects read: %v, want %t", api.read, c.read)
			}
		})
	}
	t.Run("no such resource", func(t *testing.T) {
		if got := compared(t, &cluster{}, record); got != found+" not found" {
			t.Errorf("differences %q", got)
		}
	})
	t.Run("being deleted", func(t *testing.T) {
		o := pool(t, "lab", appliedSpec, map[string]string{"netlab": both})
		now := metav1.Now()
		o.SetDeletionTimestamp(&now)
		if got := compared(t, &cluster{defined: true, objects: []*unstructured.Unstructured{o}}, record); got != found+" not found" {
			t.Errorf("differences %q", got)
		}
	})
	t.Run("existence only", func(t *testing.T) {
		o := pool(t, "lab", "{}", nil)
		only := Record{Parts: []Part{{Name: "metallb", Objects: []Object{Existing(o, pools)}}}}
		if got := compared(t, &cluster{defined: true, objects: []*unstructured.Unstructured{o}}, only); got != "" {
			t.Errorf("differences %q", got)
		}
	})
}

func compared(t *testing.T, api *cluster, record Record) string {
	t.Helper()
	server := httptest.NewServer(api)
	defer server.Close()
	all, err := Compare(t.Context(), &rest.Config{Host: server.URL}, record)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, d := range all {
		texts = append(texts, d.Error())
	}
	return strings.Join(texts, "\n")
}

// Paths go through lists by key, by value and by index; long values are hashed.
func TestValues(t *testing.T) {
	set, err := parse([]byte(`{"f:metadata":{"f:finalizers":{"v:\"x\"":{}},"f:annotations":{},"f:labels":{"f:gone":{}}},"f:data":{"f:long":{}},
		"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{}}},"f:replicas":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", longest)
	got := values(map[string]any{
		"metadata": map[string]any{"finalizers": []any{"y", "x"}, "labels": map[string]any{}, "annotations": map[string]any{"of": "others"}},
		"data":     map[string]any{"long": long},
		"spec": map[string]any{"replicas": int64(2), "ports": []any{
			map[string]any{"port": int64(443), "protocol": "TCP", "name": "https"}, map[string]any{"port": int64(80), "protocol": "TCP", "name": "http"}}},
	}, set)
	want := map[string]string{`metadata.finalizers[="x"]`: `"x"`, "data.long": text(long), `spec.ports[port=80,protocol="TCP"].name`: `"http"`, "spec.replicas": "2"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("values are\n%v\nwant\n%v", got, want)
	}
	if !strings.HasPrefix(got["data.long"], "sha256:") {
		t.Errorf("a long value is %s", got["data.long"])
	}
	if got := changes(map[string]string{"a": "1", "b": "sha256:x", "c": "3"}, map[string]string{"a": "1", "b": "2"}); fmt.Sprint(got) != "[b was changed c was removed]" {
		t.Errorf("changes are %q", got)
	}
}

func TestReadWrite(t *testing.T) {
	dir := t.TempDir()
	if r, err := Read(dir); err != nil || len(r.Parts) > 0 {
		t.Errorf("nothing: %+v (%v)", r, err)
	}
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1", Labels: map[string]string{"a": "b"}}}
	node.Spec.PodCIDR, node.Spec.PodCIDRs = "10.244.1.0/24", []string{"10.244.1.0/24"}
	role := corev1.Taint{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}
	node.Spec.Taints = []corev1.Taint{role, {Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}}
	if err := (Record{Nodes: []Node{NodeOf(node)}}).Write(dir); err != nil {
		t.Fatal(err)
	}
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	was, known := r.Node("w1")
	if again := was.Object(); !known || again.Spec.PodCIDR != node.Spec.PodCIDR || !reflect.DeepEqual(again.Labels, node.Labels) || !reflect.DeepEqual(again.Spec.Taints, []corev1.Taint{role}) {
		t.Errorf("w1 is %+v", was)
	}
	if _, known := r.Node("w2"); known {
		t.Error("w2 is known")
	}
	for text, bad := range map[string]bool{`{"schemaVersion": 99, "nodes": [{"name": "w1"}]}`: false, `{"sch`: true} {
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Read(dir); (err != nil) != bad || len(r.Nodes) > 0 {
			t.Errorf("%s: %+v (%v)", text, r, err)
		}
	}
}

// An object that netlab created before a chart's own was applied over it: only what was applied is
// compared, since a controller may change the rest.
func TestOwnedByApply(t *testing.T) {
	entry := func(operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: "netlab", Operation: operation, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	created := entry(metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:tls.key":{}}}`)
	status := entry(metav1.ManagedFieldsOperationApply, `{"f:status":{"f:x":{}}}`)
	status.Subresource = "status"
	for want, entries := range map[string][]metav1.ManagedFieldsEntry{
		".metadata.labels.a": {created, status, entry(metav1.ManagedFieldsOperationApply, `{"f:metadata":{"f:labels":{"f:a":{}}}}`)},
		".data.tls.key":      {created, status},
	} {
		if set, err := owned(entries, "netlab"); err != nil || set.String() != want {
			t.Errorf("owned are %s (%v), want %s", set, err, want)
		}
	}
}

// A missing namespace is named alone.
func TestOutermost(t *testing.T) {
	of := func(kind, namespace, name string, what ...string) Difference {
		return Difference{"x", Object{Kind: kind, Namespace: namespace, Name: name}, what}
	}
	got := outermost([]Difference{of("Namespace", "", "a"), of("Secret", "a", "s"), of("Secret", "b", "s"), of("Namespace", "", "b", "changed")})
	if text := fmt.Sprint(got); text != "[x: Namespace a not found x: Secret b/s not found x: Namespace b: changed]" {
		t.Errorf("differences are %s", text)
	}
}

// A field that somebody else took and set back to the same value is still compared.
func TestWithEarlier(t *testing.T) {
	const both, one = `{"f:spec":{"f:autoAssign":{},"f:avoid":{}}}`, `{"f:spec":{"f:autoAssign":{}}}`
	spec := `{"autoAssign":true,"avoid":2}`
	first, err := Managed(pool(t, "lab", spec, map[string]string{"netlab": both}), pools, "netlab")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Managed(pool(t, "lab", spec, map[string]string{"netlab": one, "kubectl": `{"f:spec":{"f:avoid":{}}}`}), pools, "netlab")
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Parts: []Part{{Name: "metallb", Objects: []Object{first}}}}
	before, ok := r.Object("metallb", second)
	if !ok {
		t.Fatal("the record does not have the object")
	}
	if _, ok := r.Object("kubernetes", second); ok {
		t.Error("the object is of another part")
	}
	if second, err = second.With(before); err != nil || !reflect.DeepEqual(second.Fields, first.Fields) {
		t.Errorf("%v (%v), want %v", second.Fields, err, first.Fields)
	}
	a, _ := parse(first.Owned)
	if b, err := parse(second.Owned); err != nil || !a.Equals(b) {
		t.Errorf("owned: %s (%v), want %s", second.Owned, err, first.Owned)
	}
}
